"""What a failed step says: the program's own words, then what to do about them."""

from __future__ import annotations

import importlib

import pytest

from testing.ansible_code import ROOT, load_file

pytestmark = pytest.mark.unit

importlib.import_module("ansible.plugins.callback")  # looks up a name when it is imported, which no test may
steps = load_file("twin_steps", ROOT / "ansible/callback_plugins/steps.py")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            "Unable to restart service consul.service: Job for consul.service failed because it exited",
            "journalctl -u consul -n 30",
        ),
        ("Unable to start service twin-llm: Job for twin-llm.service failed", "systemctl status twin-llm"),
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt-get)",
            "Another program",
        ),
        (
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'",
            "As root there: dpkg --configure -a",
        ),
        ("Failed to update apt cache after 5 retries: unknown reason", "apt-get update says which source"),
        ("cp: error writing '/x': No space left on device", "df -h says which"),
        (
            "runuser: failed to execute /opt/twin/bootstrap/bin/supervisord: Permission denied",
            "Its user cannot run /opt/twin/bootstrap/bin/supervisord: each folder",
        ),
        ("Missing sudo password", "--ask-become-pass"),
    ],
)
def test_a_failed_step_says_what_to_do_about_the_programs_words(words: str, hint: str) -> None:
    text = steps.failure_text({"msg": words})

    assert text.startswith(words)
    assert hint in text.removeprefix(words)


def test_words_that_nobody_knows_stand_alone() -> None:
    assert steps.failure_text({"msg": "It rains."}) == "It rains."
    assert steps.failure_text({}) == "It failed and said nothing."


def test_a_failure_among_several_items_has_its_hint_once() -> None:
    item = {"failed": True, "msg": "Unable to start service a: no"}
    text = steps.failure_text({"results": [item, item, {"msg": "well"}]})

    assert text.count("journalctl -u a ") == 1
