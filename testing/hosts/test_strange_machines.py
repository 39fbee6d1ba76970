"""`./bootstrap.sh` on machines unlike a fresh one: a hostile shell, somebody's home, a busy dpkg.

A machine with systemd (Debian 13) and one without (Debian 12); the cases come one after the other on each,
and what a case needs to find as on a new machine is removed before it. The interpreter case of a first run
is in `test_fresh_machine`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.hosts.machines import Machine
from testing.hosts.network import Network
from testing.hosts.strange import SHELL, STRANGE, plant_hostile_files, proxy
from testing.hosts.test_fresh_machine import LOGS, counts, speak

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

RUN_TIMEOUT_S = 1500.0
LOCKED_S = 60
"""How long another apt holds the locks (seconds)."""
HOME = "/home/ada/Meine Häuser"
CLOSED_PYTHON = "/root/closed/bin/python3"
PERSON = f"""
set -eu
apt-get -qq update && apt-get -qq install --no-install-recommends sudo >/dev/null
useradd --create-home --shell /bin/bash ada && chmod 0700 /home/ada
# Sudo keeps the whole environment, HOME too, and has the caller's PATH.
printf 'Defaults !env_reset, !secure_path\\nada ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/ada
git config --system --add safe.directory '*'
runuser -u ada -- mkdir '{HOME}'
runuser -u ada -- git clone --quiet /srv/checkout '{HOME}/twin & more'
"""
AS_ADA = f"""
cd '{HOME}/twin & more' && umask 077 && PIP_TARGET=/home/ada/x PYTHONPATH=/home/ada sudo -E ./bootstrap.sh
"""
OTHER_PYTHON = f"""
set -eu
binary="$(readlink -f /usr/bin/python3)"
version="${{binary##*/}}"
install -d -m 0700 /root/closed /root/closed/bin /root/closed/lib
cp "$binary" {CLOSED_PYTHON}
cp -r "/usr/lib/$version" /root/closed/lib/
"""
PUT_ON_IT = f"""
set -eu
for folder in /opt/twin/bootstrap /opt/twin/venv; do
  ln -sf {CLOSED_PYTHON} "$folder/bin/python3"
  sed -i 's|^home = .*|home = {Path(CLOSED_PYTHON).parent}|' "$folder/pyvenv.cfg"
  "$folder/bin/python" -c ''
done
"""
HOLD = f"""
exec 3<>/var/lib/dpkg/lock-frontend 4<>/var/lib/apt/lists/lock
/usr/bin/python3 -c '
import fcntl, sys, time
fcntl.lockf(3, fcntl.LOCK_EX); fcntl.lockf(4, fcntl.LOCK_EX)
open("/tmp/held", "w").close()
time.sleep({LOCKED_S})
' >/dev/null 2>&1 &
for _ in $(seq 100); do [ ! -e /tmp/held ] || exit 0; sleep 0.1; done
exit 1
"""
INTERRUPT = """
set -eu
apt-get -qq remove haproxy espeak-ng >/dev/null
mkdir -p /tmp/slow/DEBIAN && cd /tmp
printf '%s\\n' 'Package: slow' 'Version: 1' 'Architecture: all' 'Maintainer: nobody' 'Description: slow' \\
  >slow/DEBIAN/control
printf '#!/bin/sh\\n[ -e /tmp/once ] || { touch /tmp/once; sleep 600; }\\n' >slow/DEBIAN/postinst
chmod 0755 slow/DEBIAN/postinst
dpkg-deb --build slow >/dev/null
dpkg -i slow.deb >/dev/null 2>&1 &
dpkg=$!
for _ in $(seq 300); do [ ! -e /tmp/once ] || break; sleep 0.1; done
kill -KILL "$dpkg"
apt-get install -y --no-install-recommends espeak-ng 2>&1 | grep -q 'dpkg was interrupted'
"""


@pytest.fixture(scope="module")
def machine(newcomer: Machine) -> Machine:
    return newcomer


def bash(machine: Machine, script: str, name: str = "", timeout_s: float = RUN_TIMEOUT_S) -> str:
    """Run a script on the machine and return what it wrote, which is kept under a name of its own."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{machine.name}-strange-{name}.log" if name else None
    return machine.run("bash", "-c", script, timeout_s=timeout_s, log=log).stdout


def assert_ready(output: str) -> None:
    """Assert that a run of bootstrap.sh has ended well."""
    numbers = counts("\n".join(line for line in output.splitlines() if "changed=" in line))
    assert numbers["failed"] == 0
    assert "Twin is ready." in output


def interpreters(machine: Machine) -> set[str]:
    """The folders of the interpreters that Twin stands on."""
    paths = machine.run(
        "readlink", "-f", "/opt/twin/bootstrap/bin/python", "/opt/twin/venv/bin/python"
    ).stdout
    return {path.rsplit("/", 1)[0] for path in paths.split()}


def remove(machine: Machine) -> None:
    """Make it a machine again that has no Twin."""
    bash(
        machine,
        "PURGE=DELETE /root/twin/scripts/uninstall --yes --purge-data"
        " && rm -rf /opt/twin/bootstrap /opt/twin/venv",
        timeout_s=120,
    )


def test_a_shell_that_brings_all_that_could_matter_sets_up_the_same(
    machine: Machine, network: Network
) -> None:
    """Python's, pip's, uv's and conda's settings, HOME, locale, TMPDIR, umask, functions, and a proxy."""
    plant_hostile_files(machine)
    log = LOGS / f"{machine.name}-proxy.log"
    LOGS.mkdir(parents=True, exist_ok=True)
    with proxy(network, log) as address:
        variables = SHELL | {"http_proxy": address, "https_proxy": address}
        brought = [f"{name}={value}" for name, value in variables.items()]
        command = ("env", *brought, "/bin/bash", "-c", "cd /root/twin && umask 077 && ./bootstrap.sh")
        output = machine.run(
            *command, timeout_s=RUN_TIMEOUT_S, log=LOGS / f"{machine.name}-strange-shell.log"
        ).stdout

    assert_ready(output)
    assert "planted" not in output
    assert "these are not used: " in output
    assert "Python: /usr/bin/python3, because it is the system's own" in output
    assert interpreters(machine) == {"/usr/bin"}
    asked = log.read_text(encoding="utf-8")
    assert "fetched " in asked
    assert "refused " not in asked, "a proxy was asked for what is inside"
    left = bash(
        machine, f"find {STRANGE} -path '*/by-*' -o -path '*/noexec/*'; ls -A /root/.local 2>/dev/null; true"
    )
    assert left.split() == []
    assert "Paris" in speak(network, machine, "know-france")


@pytest.mark.parametrize("fault", ["closed", "gone", "of another version"])
def test_an_environment_that_services_cannot_run_is_made_anew(
    machine: Machine, network: Network, fault: str
) -> None:
    if fault == "closed":
        bash(machine, OTHER_PYTHON + PUT_ON_IT)
    elif fault == "gone":
        bash(machine, PUT_ON_IT + "mv /root/closed /root/away")
    else:
        bash(
            machine,
            "sed -i 's/^version = .*/version = 3.9.2/' /opt/twin/{bootstrap,venv}/pyvenv.cfg",
        )
    option = "--continue" if fault == "gone" else ""

    output = bash(machine, f"cd /root/twin && ./bootstrap.sh {option}", fault.replace(" ", "-"))

    assert_ready(output)
    assert "installing into /opt/twin/bootstrap anew, because " in output
    reasons = {
        "closed": f"cannot run its interpreter, {CLOSED_PYTHON}: the folder /root is closed to others",
        "gone": f"its interpreter, {CLOSED_PYTHON}, is gone",
        "of another version": "it was made with Python 3.9",
    }
    assert reasons[fault] in output
    assert interpreters(machine) == {"/usr/bin"}
    assert "Paris" in speak(network, machine, "know-france")


def test_another_apt_at_work_for_a_minute_is_waited_for(machine: Machine) -> None:
    bash(machine, "rm -f /tmp/held; apt-get -qq remove python3-venv haproxy >/dev/null", timeout_s=120)
    bash(machine, HOLD, timeout_s=30)

    output = bash(machine, "cd /root/twin && ./bootstrap.sh", "locked")

    assert_ready(output)
    assert output.count("Waiting for another program that is installing packages") >= 1


def test_a_dpkg_that_was_interrupted_is_gone_on_with(machine: Machine) -> None:
    bash(machine, INTERRUPT, timeout_s=120)

    output = bash(machine, "cd /root/twin && ./bootstrap.sh", "interrupted")

    assert_ready(output)
    assert "Debian packages: going on where dpkg was interrupted" in output
    assert "install ok installed" in machine.run("dpkg-query", "-W", "-f", "${Status}", "slow").stdout


def test_where_no_program_runs_in_tmp_and_home_cannot_be_written(machine: Machine) -> None:
    remove(machine)
    bash(
        machine, "git clone --quiet /srv/checkout /srv/twin && mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp"
    )
    bash(machine, "mount --bind /root /root && mount -o remount,bind,ro /root")
    try:
        output = bash(machine, "/srv/twin/bootstrap.sh", "folders")
    finally:
        bash(machine, "umount --lazy /root; umount --lazy /tmp")

    assert_ready(output)
    assert "no program can run in /tmp; /var/cache/twin/tmp takes its place." in output
    assert "nothing can be written in /root; /var/cache/twin/home takes its place." in output


def test_a_clone_in_a_closed_home_with_a_space_and_a_letter_by_a_sudo_that_keeps_all(
    machine: Machine, network: Network
) -> None:
    remove(machine)
    bash(machine, PERSON, timeout_s=120)
    (machine.root / "srv/as-ada").write_text(AS_ADA, encoding="utf-8")

    output = bash(machine, "runuser -u ada -- bash /srv/as-ada", "ada")

    assert_ready(output)
    foreign = bash(
        machine,
        f"find /home/ada -user root -not -path '{HOME}/twin*/build/*' -not -path '{HOME}/twin*/build'",
    )
    assert foreign.splitlines() == []
    assert "Paris" in speak(network, machine, "know-france")
    again = bash(machine, "runuser -u ada -- bash /srv/as-ada", "ada-again")
    assert counts("\n".join(line for line in again.splitlines() if "changed=" in line))["changed"] == 0
