"""Join tokens and requests: what is good, what is refused, and what of it is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from testing.ansible_code import ROOT, load_module

pytestmark = pytest.mark.unit

ROLE = ROOT / "ansible/roles/join"
PACKAGE = "ansible/roles/join/files/twin_join"
tokens = load_module(PACKAGE, "tokens")
spool = load_module(PACKAGE, "spool")
server = load_module(PACKAGE, "server")
letin = load_module(PACKAGE, "letin")
provision = load_module(PACKAGE, "provision")

FINGERPRINT = "a" * 32
KEY = "ssh-ed25519 " + "A" * 68


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tokens", "used", "spool", "state"):
        (tmp_path / name).mkdir()
    return tmp_path


def request_of(good: str, **changes: Any) -> dict[str, Any]:
    return {"token": good, "hostname": "attic", "address": "10.0.0.2", "host_keys": [KEY]} | changes


def test_a_token_is_good_once_and_only_its_digest_is_kept(folder: Path) -> None:
    store = tokens.Store(folder)
    text = store.create(3600, FINGERPRINT)
    parts = tokens.parse(text)
    kept = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())
    assert parts.secret not in kept
    assert store.refusal(parts) == ""
    assert store.use(parts, "attic (10.0.0.2)")
    assert store.refusal(parts) == "used"
    assert not store.use(parts, "barn (10.0.0.3)")
    assert store.used_by(parts.id) == "attic (10.0.0.2)"


def test_a_token_ends(folder: Path) -> None:
    store = tokens.Store(folder)
    parts = tokens.parse(store.create(60, FINGERPRINT))
    (token,) = store.all()
    assert store.refusal(parts, now_s=token.expires_s - 1) == ""
    assert store.refusal(parts, now_s=token.expires_s) == "expired"


def test_a_wrong_secret_learns_nothing_of_the_token(folder: Path) -> None:
    store = tokens.Store(folder)
    parts = tokens.parse(store.create(60, FINGERPRINT))
    store.use(parts, "attic")
    assert store.refusal(parts._replace(secret="a" * 26)) == "unknown"
    assert store.refusal(parts._replace(id="aaaaaa")) == "unknown"


def test_a_revoked_token_is_unknown(folder: Path) -> None:
    store = tokens.Store(folder)
    parts = tokens.parse(store.create(60, FINGERPRINT))
    store.revoke(parts.id)
    assert store.refusal(parts) == "unknown"
    with pytest.raises(tokens.JoinError, match="no token 'aaaaaa'; known: none"):
        store.revoke("aaaaaa")


def test_the_store_reads_no_file_by_a_strange_name(folder: Path) -> None:
    (folder / "outside.json").write_text('{"digest": "", "created_s": 0, "expires_s": 9e9}', encoding="utf-8")
    assert tokens.Store(folder).refusal(tokens.Parts("../outside", "", "")) == "unknown"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172800), ("60", 60)]
)
def test_a_life_is_read_with_its_unit(text: str, seconds: int) -> None:
    assert tokens.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "59s", "8d", "1w", "-1h", "1h30m"])
def test_a_life_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(tokens.JoinError, match="from 1m to 7d"):
        tokens.seconds_of(text)


@pytest.mark.parametrize("text", ["", "abc", "abc234.short.short", "ABC234." + "a" * 26 + "." + "a" * 32])
def test_what_is_no_token_is_said_to_be_none(text: str) -> None:
    with pytest.raises(tokens.JoinError, match="This is no token"):
        tokens.parse(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": "Attic"},
        {"hostname": "localhost"},
        {"hostname": "a\nb"},
        {"hostname": "-e"},
        {"address": "attic"},
        {"address": "10.0.0.2 ansible_connection=local"},
        {"host_keys": []},
        {"host_keys": [KEY] * 7},
        {"host_keys": [KEY + "\n10.0.0.9 " + KEY]},
        {"host_keys": ["@cert-authority * " + KEY]},
        {"host_keys": KEY},
        {"token": "x"},
        {"token": 7},
        {"extra": "x"},
    ],
)
def test_a_strange_request_is_refused_on_both_sides(folder: Path, changes: dict[str, Any]) -> None:
    token = tokens.Store(folder).create(60, FINGERPRINT)
    request = request_of(token, **changes)
    with pytest.raises(tokens.JoinError):
        spool.read_request(request)
    path = folder / "spool" / f"{token[:6]}.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    with pytest.raises(tokens.JoinError):
        spool.Spool(folder).take(path)
    assert not path.exists()


def test_a_request_comes_out_of_the_spool_as_it_went_in(folder: Path) -> None:
    desk = spool.Spool(folder)
    request = spool.read_request(request_of(tokens.Store(folder).create(60, FINGERPRINT)))
    desk.put(request)
    (path,) = desk.waiting()
    assert desk.take(path) == request
    assert list(desk.waiting()) == []


def test_root_follows_no_link_out_of_the_spool(folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("{}", encoding="utf-8")
    link = folder / "spool/abc234.json"
    link.symlink_to(secret)
    with pytest.raises(tokens.JoinError, match="cannot be read"):
        spool.Spool(folder).take(link)
    assert secret.exists()


def test_root_reads_no_endless_request(folder: Path) -> None:
    path = folder / "spool/abc234.json"
    path.write_text(" " * 20000, encoding="utf-8")
    with pytest.raises(tokens.JoinError, match="too large"):
        spool.Spool(folder).take(path)


def test_a_log_is_handed_out_by_whole_lines(folder: Path) -> None:
    desk = spool.Spool(folder)
    assert desk.log("abc234", 0) == ("", 0)
    path = desk.log_path("abc234")
    path.write_text("one\ntwo\nthr", encoding="utf-8")
    assert desk.log("abc234", 0) == ("one\ntwo\n", 8)
    path.write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert desk.log("abc234", 8) == ("three\n", 14)


def test_wrong_attempts_make_their_address_wait_and_in_the_end_all() -> None:
    now_s = 100.0
    limiter = server.Limiter(lambda: now_s)
    for _ in range(5):
        assert limiter.wait_s("10.0.0.9") == 0
        limiter.wrong("10.0.0.9")
    assert limiter.wait_s("10.0.0.9") > 0
    assert limiter.wait_s("10.0.0.8") == 0
    for number in range(25):
        limiter.wrong(f"10.0.1.{number}")
    assert limiter.wait_s("10.0.0.8") > 0
    now_s += 60
    assert limiter.wait_s("10.0.0.9") == 0


def test_the_key_is_good_from_the_controller_only_and_replaces_the_last_one() -> None:
    line = letin.key_line(KEY, ["10.0.0.1", "fd00::1"])
    assert line == f'restrict,from="10.0.0.1,fd00::1" {KEY} twin-controller'
    mine = "ssh-ed25519 BBBB me@home"
    text = letin.with_line(f"{mine}\nrestrict ssh-ed25519 CCCC twin-controller\n", line)
    assert text == f"{mine}\n{line}\n"
    assert letin.with_line(text, "") == f"{mine}\n"


@pytest.mark.parametrize(
    ("key", "addresses"),
    [("ssh-ed25519 x", ["10.0.0.1"]), (KEY + "\n" + KEY, ["10.0.0.1"]), (KEY, []), (KEY, ['10.0.0.1" x'])],
)
def test_a_strange_key_is_not_let_in(key: str, addresses: list[str]) -> None:
    with pytest.raises(tokens.JoinError):
        letin.key_line(key, addresses)


def test_machines_out_of_reach_are_left_out_of_the_run(tmp_path: Path) -> None:
    plan = provision.Plan(*[tmp_path / name for name in "abcdef"], user="twin-admin")
    command = provision.playbook_command(plan, ["barn", "cellar"])
    assert command[command.index("--limit") + 1] == "all,!barn,!cellar"
    assert "--limit" not in provision.playbook_command(plan, [])


def test_addresses_are_read_from_the_inventory() -> None:
    text = (
        "controller_nodes:\n  hosts:\n    den: # here\n      ansible_host: 10.0.0.1\n"
        "worker_nodes:\n  hosts:\n    attic:\n      ansible_user: x\n"
        "      ansible_host: '10.0.0.2'\n      ansible_port: 2222\n    barn:\n"
    )
    assert provision.addresses_of(text) == {"den": ("10.0.0.1", 22), "attic": ("10.0.0.2", 2222)}


def test_a_failed_run_is_told_by_its_first_failed_step() -> None:
    text = "[ 0:12]    Install X: FAILED\n[ 0:12]       No space left on device\n[ 0:12] -- a: ok=1\n"
    assert provision.failure_of(text) == "Install X: No space left on device"
    assert "barn cannot be reached: timed out" in provision.failure_of(
        "[ 1:00]    barn cannot be reached: timed out"
    )


def test_a_machines_old_key_is_forgotten_when_it_joins_again(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("10.0.0.2 ssh-ed25519 OLD\n10.0.0.20 ssh-ed25519 OTHER\n", encoding="ascii")
    token = f"abc234.{'a' * 26}.{FINGERPRINT}"
    provision.pin(known, spool.read_request(request_of(token)))
    assert known.read_text(encoding="ascii") == f"10.0.0.20 ssh-ed25519 OTHER\n10.0.0.2 {KEY}\n"


def test_every_sentence_about_a_token_says_how_to_get_a_good_one() -> None:
    for reason in ("unknown", "used", "expired"):
        assert re.search("twin join-token create", server.SENTENCES[reason])


def test_both_ways_to_let_the_controller_in_write_the_same() -> None:
    """For a machine that joins by a token, and for one that the playbook reaches first."""
    tasks = {
        task["name"]: task
        for task in yaml.safe_load((ROLE / "tasks/let_in.yaml").read_text(encoding="utf-8"))
    }
    given = yaml.safe_load((ROLE / "vars/main.yaml").read_text(encoding="utf-8"))
    names = {"_join_admin": given["_join_admin"], "_join_admin_home": given["_join_admin_home"]}

    def filled(text: str, **more: object) -> str:
        return str(jinja2.Environment(keep_trailing_newline=True).from_string(text).render(names | more))

    sudoers = tasks["Let it do all by sudo"]["ansible.builtin.copy"]
    assert filled(sudoers["content"]) == letin.SUDOERS_TEXT
    assert filled(sudoers["dest"]) == str(letin.SUDOERS)
    assert sudoers["mode"] == "0440"
    keys = tasks["Let the first controller's key in, from its address only"]["ansible.builtin.lineinfile"]
    line = filled(
        keys["line"],
        hostvars={"den": {"twin_address": "10.0.0.1"}},
        twin_first_controller="den",
        __join_public={"stdout": f"{KEY} root@den"},
    )
    assert line == letin.key_line(KEY, ["10.0.0.1"])
    assert re.search(keys["regexp"], line)
    assert filled(keys["path"]) == str(letin.HOME / ".ssh/authorized_keys")
    assert (given["_join_admin"], given["_join_admin_home"]) == (letin.USER, str(letin.HOME))
