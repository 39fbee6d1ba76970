"""The README's promise, on fresh machines: clone, `./bootstrap.sh`, speak, be answered; and again, in order.

A machine with systemd (Debian 13) and one without (Debian 12), which has a Python of root's own first on
PATH. The caller is outside the machine, on the same network, as a browser in the house is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testing.hosts.machines import Machine
from testing.hosts.network import Network
from testing.hosts.strange import CLOSED, plant_interpreter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "hosts"
FIRST_TIMEOUT_S = 1500.0
AGAIN_TIMEOUT_S = 300.0
CALL_TIMEOUT_S = 180.0
READY_TIMEOUT_S = 90.0
BOOTSTRAP = "cd /root/twin && umask 077 && PATH={}$PATH ./bootstrap.sh"
"""As a person types it on a machine where what root writes is root's alone."""
OWN_PYTHON = "bookworm"
"""On this one another Python is first on root's PATH, in a folder that no other user gets to."""


@pytest.fixture(scope="module")
def machine(newcomer: Machine) -> Machine:
    if newcomer.name.startswith(OWN_PYTHON):
        plant_interpreter(newcomer)
    return newcomer


def counts(output: str) -> dict[str, int]:
    """The numbers of Ansible's last line."""
    found = re.findall(r"(ok|changed|failed|unreachable)=(\d+)", output.splitlines()[-1] if output else "")
    return {name: int(number) for name, number in found}


def bootstrap(machine: Machine, name: str, timeout_s: float) -> tuple[str, dict[str, int]]:
    """Run bootstrap.sh and print the time it took; return its output and Ansible's counts."""
    LOGS.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    first = f"{CLOSED}/bin:" if machine.name.startswith(OWN_PYTHON) else ""
    command = ("bash", "-c", BOOTSTRAP.format(first))
    output = machine.run(*command, timeout_s=timeout_s, log=LOGS / f"{machine.name}-{name}.log").stdout
    took_s = time.monotonic() - began_s
    numbers = counts("\n".join(line for line in output.splitlines() if "changed=" in line))
    sys.stdout.write(f"\n{machine.name}: ./bootstrap.sh, {name}: {took_s:.0f} s, {numbers}\n")
    return output, numbers


def speak(network: Network, machine: Machine, *recordings: str) -> str:
    """Call the machine from the network, speak recordings, return what was heard and replied."""
    caller = [
        sys.executable,
        "-m",
        "testing.e2e.client",
        "--url",
        f"http://{machine.address}:8000",
        *recordings,
    ]
    done = subprocess.run(
        network.command(*caller),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_first_run_ends_with_a_spoken_answer(machine: Machine, network: Network) -> None:
    output, numbers = bootstrap(machine, "first", FIRST_TIMEOUT_S)

    assert numbers["failed"] == 0
    assert "Twin is ready." in output
    assert f"https://{machine.address}:8443" in output
    assert "standalone, because:" in output
    conversation = speak(network, machine, "tool-product", "know-france")
    assert "391" in conversation
    assert "Paris" in conversation


def test_what_runs_stands_on_a_python_that_its_user_can_run(machine: Machine) -> None:
    pythons = machine.run(
        "readlink", "-f", "/opt/twin/bootstrap/bin/python", "/opt/twin/venv/bin/python"
    ).stdout

    assert {path.rsplit("/", 1)[0] for path in pythons.split()} == {"/usr/bin"}


def test_second_run_changes_nothing(machine: Machine) -> None:
    _, numbers = bootstrap(machine, "again", AGAIN_TIMEOUT_S)

    assert numbers["failed"] == 0
    assert numbers["changed"] == 0


def test_check_mode_passes_and_foresees_no_change(machine: Machine) -> None:
    playbook = "cd /root/twin && /opt/twin/bootstrap/bin/ansible-playbook --check playbook.yaml"
    output = machine.run("bash", "-c", f"{playbook} -e ansible_become=false", timeout_s=300).stdout

    assert counts(output.strip())["failed"] == 0
    assert counts(output.strip())["changed"] == 0


def processes(machine: Machine) -> list[tuple[str, str, str]]:
    """Id, user and command line of everything that runs on the machine."""
    listing = (
        "for p in /proc/[0-9]*; do"
        ' printf "%s\\t%s\\t%s\\n" "${p#/proc/}" "$(stat -c %U $p)" "$(tr "\\0" " " <$p/cmdline)";'
        " done 2>/dev/null; true"
    )
    lines = machine.run("bash", "-c", listing).stdout.splitlines()
    found = [line.split("\t", 2) for line in lines]
    return [(line[0], line[1], line[2]) for line in found if len(line) == 3]


OURS = ("/opt/twin/venv/bin/python", "/usr/sbin/haproxy", "/opt/twin/bootstrap/bin/python")


def test_no_service_runs_as_root(machine: Machine) -> None:
    ours = [(user, line) for _, user, line in processes(machine) if line.startswith(OURS)]

    assert any(line.endswith("pipecatapp serve ") for _, line in ours)
    assert any("haproxy.cfg" in line for _, line in ours)
    assert {user for user, _ in ours} == {"pipecatapp"}


def test_killed_services_come_back(machine: Machine, network: Network) -> None:
    victims = [
        pid for pid, _, line in processes(machine) if "xllamacpp_server" in line or "haproxy.cfg" in line
    ]
    assert len(victims) >= 2
    machine.run("bash", "-c", f"kill -KILL {' '.join(victims)}")
    wait_until_ready(machine)

    assert "Paris" in speak(network, machine, "know-france")


def wait_until_ready(machine: Machine) -> None:
    """Wait until the front answers 200 for health, three times running."""
    probe = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=10)"
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    well = 0
    while well < 3 and time.monotonic() < deadline_s:
        try:
            machine.run("/opt/twin/venv/bin/python", "-c", probe)
        except RuntimeError:
            well = 0
        else:
            well += 1
        time.sleep(1)


def test_certificate_is_good_for_the_machines_address(machine: Machine, network: Network) -> None:
    authority = machine.run("cat", "/var/lib/twin/tls/ca.crt").stdout
    check = (
        "import ssl, sys, urllib.request as u; c = ssl.create_default_context(cadata=sys.argv[2]);"
        "print(u.urlopen(sys.argv[1], context=c, timeout=20).status)"
    )
    url = f"https://{machine.address}:8443/health"
    command = network.command(sys.executable, "-c", check, url, authority)
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    assert done.stdout.strip() == "200", done.stderr


def test_uninstall_keeps_memory_and_leaves_nothing_else(machine: Machine) -> None:
    machine.run("/root/twin/scripts/uninstall", "--yes", timeout_s=120)

    left = machine.run(
        "bash",
        "-c",
        "ls -d /opt/twin /etc/twin /usr/local/bin/twin /etc/systemd/system/twin-* 2>/dev/null; "
        "ls -d /var/lib/twin; true",
    ).stdout.split()
    assert left == ["/var/lib/twin"]
