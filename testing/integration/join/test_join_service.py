"""A machine joins over real TLS; one with a wrong, used or expired token, or none, gets nothing."""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipecatapp.adapters.tls.local_ca import ensure_certificates
from testing.ansible_code import ROOT, load_module

pytestmark = pytest.mark.integration

PACKAGE = "ansible/roles/join/files/twin_join"
tokens = load_module(PACKAGE, "tokens")
spool = load_module(PACKAGE, "spool")
server = load_module(PACKAGE, "server")
worker = load_module(PACKAGE, "worker")
provision = load_module(PACKAGE, "provision")

KEY = "ssh-ed25519 " + "A" * 68
OFFER = {"public_key": KEY, "from": ["127.0.0.1"], "user": "twin-admin"}


@dataclass
class Reception:
    folder: Path
    port: int
    fingerprint: str

    @property
    def store(self) -> Any:
        return tokens.Store(self.folder)

    def token(self, ttl_s: int = 3600) -> str:
        return str(self.store.create(ttl_s, self.fingerprint))

    def requests(self) -> list[str]:
        return [path.name for path in (self.folder / "spool").iterdir()]


@pytest.fixture
def reception(tmp_path: Path) -> Iterator[Reception]:
    for name in ("tokens", "used", "spool", "state"):
        (tmp_path / name).mkdir()
    files = ensure_certificates(tmp_path / "tls", ["127.0.0.1"])
    authority = files.ca.read_text(encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    desk = server.Reception(tokens.Store(tmp_path), spool.Spool(tmp_path), authority, OFFER)
    with server.Server("127.0.0.1", 0, context, desk) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield Reception(tmp_path, service.server_address[1], tokens.fingerprint_of(authority))
        service.shutdown()
        thread.join()


def join(
    reception: Reception, token: str, monkeypatch: pytest.MonkeyPatch, hostname: str = "attic"
) -> list[str]:
    """Join as a machine does; return what happened to its door."""
    doors: list[str] = []
    monkeypatch.setattr(worker, "check_ssh", lambda address: None)
    monkeypatch.setattr(worker, "host_keys", lambda: [KEY])
    monkeypatch.setattr(worker, "watch", lambda controller, address: None)
    try:
        worker.join(
            "127.0.0.1", reception.port, token, hostname,
            open_door=lambda offer: doors.append("open"), close_door=lambda: doors.append("shut"),
        )  # fmt: skip
    except tokens.JoinError as exc:
        doors.append(str(exc))
    return doors


def test_a_machine_with_a_token_leaves_its_request_in_the_spool(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert join(reception, reception.token(), monkeypatch) == ["open"]
    desk = spool.Spool(reception.folder)
    (path,) = desk.waiting()
    request = desk.take(path)
    assert (request.hostname, request.address, request.host_keys) == ("attic", "127.0.0.1", (KEY,))


def test_a_second_machine_with_the_same_token_is_refused_and_logged(
    reception: Reception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = reception.token()
    join(reception, token, monkeypatch)
    with caplog.at_level(logging.INFO, logger="twin-join"):
        (refused,) = join(reception, token, monkeypatch, hostname="barn")
    assert "used already" in refused
    assert f"refused: used token {token[:6]} (from 127.0.0.1)" in caplog.text
    assert tokens.parse(token).secret not in caplog.text
    assert len(reception.requests()) == 1


def test_an_expired_token_is_refused_and_logged(
    reception: Reception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = reception.token()
    path = reception.folder / "tokens" / f"{token[:6]}.json"
    entry = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(entry | {"expires_s": time.time() - 1}), encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="twin-join"):
        (refused,) = join(reception, token, monkeypatch)
    assert "has expired" in refused
    assert "refused: expired token" in caplog.text
    assert reception.requests() == []


def test_a_wrong_token_is_refused_and_after_a_few_there_is_a_wait(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = f"abc234.{'b' * 26}.{reception.fingerprint}"
    answers = [join(reception, wrong, monkeypatch)[0] for _ in range(6)]
    assert all("not known here" in answer for answer in answers[:5])
    assert "Too many wrong attempts; wait" in answers[5]
    assert join(reception, reception.token(), monkeypatch)[0].startswith("Too many")
    assert reception.requests() == []


def test_a_controller_of_another_house_is_not_let_in(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = reception.token().rsplit(".", 1)[0] + "." + "a" * 32
    (refused,) = join(reception, token, monkeypatch)
    assert "is not the controller that made this token" in refused
    assert not reception.store.is_used(token[:6])


def test_a_bad_name_shuts_the_door_again_and_does_not_use_the_token(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = reception.token()
    opened, shut, refused = join(reception, token, monkeypatch, hostname="Attic Box")
    assert (opened, shut) == ("open", "shut")
    assert "small letters" in refused
    assert join(reception, token, monkeypatch) == ["open"]


def test_without_a_token_nothing_is_told(reception: Reception) -> None:
    authority = worker.Controller("127.0.0.1", reception.port, "")
    authority.pin(tokens.Parts("", "", reception.fingerprint))
    for method, path, body in (
        ("POST", "/v1/hello", {}),
        ("POST", "/v1/join", {"token": "x"}),
        ("GET", "/v1/progress", None),
        ("GET", "/", None),
    ):
        with pytest.raises(tokens.JoinError, match=r"no token|nothing here"):
            authority.call(method, path, body)


def test_progress_is_told_to_who_has_the_token(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    token = reception.token()
    join(reception, token, monkeypatch)
    desk = spool.Spool(reception.folder)
    controller = worker.Controller("127.0.0.1", reception.port, token)
    controller.pin(tokens.parse(token))
    assert controller.call("GET", "/v1/progress")["state"] == "waiting"
    desk.log_path(token[:6]).write_text("[ 0:01] -- Software\n", encoding="utf-8")
    desk.set_state(token[:6], spool.State("running", "At work."))
    answer = controller.call("GET", "/v1/progress?from=0")
    assert (answer["state"], answer["log"]) == ("running", "[ 0:01] -- Software\n")


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_machine_watches_until_the_end(
    reception: Reception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], end: str
) -> None:
    token = reception.token()
    reception.store.use(tokens.parse(token), "attic")
    desk = spool.Spool(reception.folder)
    desk.log_path(token[:6]).write_text("a step\n", encoding="utf-8")
    desk.set_state(token[:6], spool.State(end, "That is it."))
    controller = worker.Controller("127.0.0.1", reception.port, token)
    controller.pin(tokens.parse(token))
    if end == "failed":
        with pytest.raises(tokens.JoinError, match="That is it"):
            worker.watch(controller, "127.0.0.1")
    else:
        worker.watch(controller, "127.0.0.1")
        assert "That is it." in capfd.readouterr().err


def test_a_silent_caller_does_not_hold_the_others_up(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(("127.0.0.1", reception.port)):
        assert join(reception, reception.token(), monkeypatch) == ["open"]


INVENTORY = """---
# The house.
controller_nodes:
  hosts:
    den:
      ansible_host: 127.0.0.1

worker_nodes:
  hosts: {}
"""


def plan_with(folder: Path, playbook_does: str) -> Any:
    """A plan whose ansible-playbook is a script."""
    (folder / "bin").mkdir()
    # A link to the interpreter would lose its environment's packages, which read an inventory.
    programs = {"python": f'exec {shlex.quote(sys.executable)} "$@"', "ansible-playbook": playbook_does}
    for name, does in programs.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        program.chmod(0o755)
    inventory = folder / "inventory.yaml"
    inventory.write_text(INVENTORY, encoding="utf-8")
    (folder / "checkout").mkdir()
    also = folder / "checkout/inventory.yaml"
    also.write_text(INVENTORY, encoding="utf-8")
    return provision.Plan(
        checkout=ROOT, inventory=inventory, also=also, variables=folder / "vars.yaml",
        known_hosts=folder / "known_hosts", python=folder / "bin/python", user="twin-admin",
        lock=folder / "bin",
    )  # fmt: skip


def ask(reception: Reception, address: str = "10.9.9.9") -> str:
    token = reception.token()
    request = {"token": token, "hostname": "attic", "address": address, "host_keys": [KEY]}
    reception.store.use(tokens.parse(token), "attic")
    spool.Spool(reception.folder).put(spool.read_request(request))
    return token[:6]


def test_a_machine_is_tried_where_its_ssh_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_server(("127.0.0.1", 0)) as shut:
        shut_port = shut.getsockname()[1]
        shut.close()
        machines = [("attic", "127.0.0.1", door.getsockname()[1]), ("barn", "127.0.0.1", shut_port)]
        assert provision.out_of_reach(machines) == ["barn"]


def test_a_request_ends_in_both_inventories_with_its_key_pinned(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 'echo "[ 0:01] -- Software"; echo "$@"')
    name = ask(reception)
    assert provision.Provisioner(reception.folder, plan).run()
    state = spool.Spool(reception.folder).state(name)
    assert (state.state, state.sentence) == ("done", "attic is part of the cluster.")
    for path in (plan.inventory, plan.also):
        assert (
            "    attic:\n      ansible_host: 10.9.9.9\n      ansible_user: twin-admin\n" in path.read_text()
        )
    assert plan.known_hosts.read_text() == f"10.9.9.9 {KEY}\n"
    text, _ = spool.Spool(reception.folder).log(name, 0)
    assert f"-i {plan.inventory} -e @{plan.variables} {ROOT}/playbook.yaml" in text


def test_a_failed_run_is_told_and_the_inventory_is_as_before(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(
        tmp_path, 'echo "[ 0:02]    Install X: FAILED"; echo "[ 0:02]       No space left"; exit 2'
    )
    name = ask(reception)
    assert not provision.Provisioner(reception.folder, plan).run()
    state = spool.Spool(reception.folder).state(name)
    assert state.state == "failed"
    assert "Install X: No space left" in state.sentence
    assert "join with a new token" in state.sentence
    assert plan.inventory.read_text() == INVENTORY


def test_what_a_dead_run_left_is_undone_by_the_next(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "kill -9 $PPID")
    name = ask(reception)
    code = (
        "import sys; from twin_join import provision as p; from pathlib import Path; "
        "p.Provisioner(Path(sys.argv[1]), p.Plan(*map(Path, sys.argv[2:8]), user='twin-admin', "
        "lock=Path(sys.argv[8]))).run()"
    )
    paths = (
        plan.checkout,
        plan.inventory,
        plan.also,
        plan.variables,
        plan.known_hosts,
        plan.python,
        plan.lock,
    )
    dead = subprocess.run(
        [sys.executable, "-c", code, str(reception.folder), *map(str, paths)],
        env={**os.environ, "PYTHONPATH": str((ROOT / PACKAGE).parent)}, capture_output=True, check=False,
    )  # fmt: skip
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    desk = spool.Spool(reception.folder)
    assert desk.state(name).state == "running"
    assert "attic" in plan.inventory.read_text()
    assert list((reception.folder / "state").glob("*.begun"))  # what twin-provision.path starts it by
    provision.Provisioner(reception.folder, plan).run()
    assert desk.state(name).state == "failed"
    assert "Join again with a new token" in desk.state(name).sentence
    assert plan.inventory.read_text() == INVENTORY
    assert not list((reception.folder / "state").glob("*.begun"))


def test_a_known_machine_stays_when_its_second_join_dies(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "exit 0")
    name = ask(reception)
    assert provision.Provisioner(reception.folder, plan).run()
    with_attic = plan.inventory.read_text()
    desk = spool.Spool(reception.folder)
    desk.begin(name, "")
    desk.set_state(name, spool.State("running", ""))
    provision.Provisioner(reception.folder, plan).run()
    assert desk.state(name).state == "failed"
    assert plan.inventory.read_text() == with_attic


def test_what_the_disk_refuses_is_told_to_the_machine(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "exit 0")
    plan.known_hosts.mkdir()  # it cannot be written
    name = ask(reception)
    assert not provision.Provisioner(reception.folder, plan).run()
    assert spool.Spool(reception.folder).state(name).state == "failed"
    assert plan.inventory.read_text() == INVENTORY


def test_one_provisions_at_a_time(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "exit 0")
    name = ask(reception)
    desk = spool.Spool(reception.folder)
    second = threading.Thread(target=provision.Provisioner(reception.folder, plan).run)
    with desk.alone():
        second.start()
        second.join(0.5)
        assert desk.state(name).state == "waiting"
    second.join()
    assert desk.state(name).state == "done"


def test_a_machine_waits_while_another_run_works_and_is_told(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 'test -n "${TWIN_RUN_LOCK-x}" && exit 1; exit 0')
    name = ask(reception)
    desk = spool.Spool(reception.folder)
    descriptor = os.open(plan.lock, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    second = threading.Thread(target=provision.Provisioner(reception.folder, plan).run)
    second.start()
    while "Waiting until another run" not in desk.log(name, 0)[0]:
        second.join(0.05)
        assert second.is_alive()
    assert desk.state(name).state == "waiting"
    assert plan.inventory.read_text() == INVENTORY
    os.close(descriptor)
    second.join()
    assert desk.state(name).state == "done"


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_machine_does_not_wait_for_ever(reception: Reception, state: str) -> None:
    token = reception.token()
    reception.store.use(tokens.parse(token), "attic")
    spool.Spool(reception.folder).set_state(token[:6], spool.State(state, ""))
    controller = worker.Controller("127.0.0.1", reception.port, token)
    controller.pin(tokens.parse(token))
    hours = itertools.count(0, 1800)
    with pytest.raises(tokens.JoinError, match="Nothing new .* waits no longer"):
        worker.watch(controller, "127.0.0.1", poll_s=0, clock=lambda: next(hours))


def test_a_name_that_is_taken_is_refused_before_anything_runs(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, f"touch {tmp_path}/ran")
    name = ask(reception, address="127.0.0.1")
    assert not provision.Provisioner(reception.folder, plan).run()
    assert "same address" in spool.Spool(reception.folder).state(name).sentence
    assert not (tmp_path / "ran").exists()


def test_the_service_cannot_invent_a_machine(reception: Reception, tmp_path: Path) -> None:
    plan = plan_with(tmp_path, f"touch {tmp_path}/ran")
    token = f"abc234.{'b' * 26}.{reception.fingerprint}"
    request = {"token": token, "hostname": "attic", "address": "10.9.9.9", "host_keys": [KEY]}
    spool.Spool(reception.folder).put(spool.read_request(request))
    assert not provision.Provisioner(reception.folder, plan).run()
    assert "unknown" in spool.Spool(reception.folder).state("abc234").sentence
    assert plan.inventory.read_text() == INVENTORY
    assert not (tmp_path / "ran").exists()


def test_the_command_line_makes_lists_and_revokes(reception: Reception) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "twin_join", "--folder", str(reception.folder), "token", *arguments],
            env={"PYTHONPATH": str(ROOT / "ansible/roles/join/files"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    authority = str(reception.folder / "tls/ca.crt")
    made = run("create", "--ttl", "30m", "--authority", authority)
    assert tokens.parse(made.stdout).fingerprint == reception.fingerprint
    assert "29 more minutes" in run("list").stdout or "30 more minutes" in run("list").stdout
    assert run("revoke", made.stdout[:6]).returncode == 0
    assert run("list").stdout == "There is no token.\n"
    refused = run("create", "--ttl", "1y", "--authority", authority)
    assert (refused.returncode, "from 1m to 7d" in refused.stderr) == (1, True)
