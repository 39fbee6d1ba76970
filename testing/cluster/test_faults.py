"""What goes wrong while a cluster is set up ends in a sentence, and the next run finishes.

Two machines of its own. On the first a person without root's rights types at a terminal, and it becomes the
controller. The second is set up from beside, and its models come from the first. The tests go on from one
another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from testing.cluster.house import say
from testing.cluster.terminal import CTRL_C, Terminal
from testing.hosts.cluster import ROOT, Cluster, Node, built_programs, warm_caches
from testing.hosts.network import ip

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

LOGS = ROOT / "build" / "cluster"
PERSON, PASSWORD = "ada", "not-a-secret"
MODELS = "/opt/twin/models"
PARTIAL = f"{MODELS}/.supply/partial"
MODELS_MB = 1500
"""Room for the second machine's models, which take 900 MB."""
LEFT_MB = 8
"""Room that is left when the disk fills up under way."""
LINK = ("tbf", "rate", "24mbit", "burst", "64kb", "latency", "200ms")
"""A link on which the first model takes minutes (tc-tbf(8))."""
ARRIVED_BYTES = 4_000_000
"""How much of a model has come when something happens to the rest."""
APT = "apt-get .*install"
STEP_TIMEOUT_S = 300.0
RUN_TIMEOUT_S = 1200.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """Two fresh machines with a person who may use sudo, with a password."""
    lent = warm_caches() | {"/srv/checkout": ROOT}
    with Cluster(1, lent=lent, first_lent=built_programs()) as two:
        del two._lent[f"+{MODELS}"]
        two.add_host()
        two.write_inventory(two.hosts[:1], two.hosts[1:])
        for node in two.hosts:
            home = f"/home/{PERSON}"
            node.run("useradd", "--create-home", "--shell=/bin/bash", "--groups=sudo", PERSON)
            node.run("bash", "-c", f"echo {PERSON}:{PASSWORD} | chpasswd && cp -r /root/.ssh {home}")
            node.run("git", "clone", "--quiet", "/srv/checkout", f"{home}/twin")
            node.run("chown", "-R", f"{PERSON}:", home)
        yield two


def bootstrap(cluster: Cluster, log: str, *arguments: str) -> Terminal:
    """A terminal at which the person has logged in on the first machine and begun to set it up."""
    command = f"cd twin && ./bootstrap.sh --role controller {' '.join(arguments)}"
    ssh = cluster.ssh(cluster.hosts[0], "bash", "-c", command, user=PERSON, has_terminal=True)
    return Terminal(ssh, LOGS / f"faults-{log}.log")


def play(cluster: Cluster, log: str, name: str, *arguments: str) -> Terminal:
    """A terminal beside the machines at which a playbook runs."""
    command = cluster.playbook_command(name, *arguments)
    return Terminal(command, LOGS / f"faults-{log}.log", cwd=ROOT, environment=cluster.environment())


def runs(node: Node, pattern: str) -> bool:
    """Whether a program runs on the node whose command line has this in it."""
    # The brackets keep pgrep's own command line from being found.
    found = node.run("bash", "-c", f"pgrep -f '[{pattern[0]}]{pattern[1:]}' || true")
    return bool(found.stdout.strip())


def arrived(node: Node) -> tuple[int, int]:
    """Size and inode of the file that has come in part; zeros when there is none."""
    look = f"stat -c '%s %i' {PARTIAL}/*.part 2>/dev/null | sort -n | tail -n 1"
    size, _, inode = node.run("bash", "-c", f"{look}; true").stdout.strip().partition(" ")
    return int(size or 0), int(inode or 0)


def test_a_disk_too_small_is_told_for_every_machine_before_anything_is_changed(pair: Cluster) -> None:
    first, second = pair.hosts
    disks = ((first, "/var/lib/nomad", 100), (second, "/opt/twin", 300))
    for node, folder, size_mb in disks:
        node.run("mkdir", "-p", folder)
        node.run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", folder)

    played = pair.playbook("playbook.yaml", must_pass=False)

    assert played.status != 0
    assert f"{first.name}: /var/lib/nomad has 100 MB free and needs 500 MB. Free some space" in played.output
    assert f"{second.name}: /opt/twin has 300 MB free and needs 2500 MB. Free some space" in played.output
    assert played.changes == []
    for node, folder, _ in disks:
        node.run("umount", folder)
    assert pair.playbook("playbooks/preflight.yaml").status == 0


def test_a_wrong_sudo_password_says_so_and_the_right_one_goes_on(pair: Cluster) -> None:
    second = pair.hosts[1]
    text = pair.inventory.read_text(encoding="utf-8")
    root, person = (
        f"ansible_host: {second.address}\n      ansible_user: {name}" for name in ("root", PERSON)
    )
    assert root in text
    pair.inventory.write_text(text.replace(root, person), encoding="utf-8")
    try:
        played = pair.playbook("playbooks/preflight.yaml", must_pass=False)
        assert "asks for a password. Run the same command again with --ask-become-pass" in played.output
        with play(pair, "sudo-wrong", "playbooks/preflight.yaml", "--ask-become-pass") as terminal:
            terminal.see("BECOME password")
            terminal.type("a-guess\n")
            terminal.see(f"{second.name}: Gathering Facts: FAILED")
            terminal.see("did not take the password, and nothing was done there. Run the same command")
            assert terminal.end() != 0
        with play(pair, "sudo-right", "playbooks/preflight.yaml", "--ask-become-pass") as terminal:
            terminal.see("BECOME password")
            terminal.type(f"{PASSWORD}\n")
            assert terminal.end() == 0
    finally:
        pair.inventory.write_text(text, encoding="utf-8")


def test_a_wrong_sudo_password_of_bootstrap_does_nothing(pair: Cluster) -> None:
    with bootstrap(pair, "bootstrap-password") as terminal:
        for _ in range(3):
            terminal.see("password for ada:")
            terminal.type("a-guess\n")
        terminal.see("sudo did not let you in: a wrong password.*Nothing was done; try again")
        assert terminal.end() != 0
    assert pair.hosts[0].run("bash", "-c", "ls -A /var/cache/twin").stdout.split() == ["uv"]


@pytest.mark.parametrize(
    ("step", "during", "log"),
    [
        ("packages", APT, "ctrl-c-packages"),
        ("playbook", APT, "ctrl-c-apt"),
        ("playbook", "uv pip install", "ctrl-c-download"),
    ],
)
def test_ctrl_c_says_how_to_go_on(pair: Cluster, step: str, during: str, log: str) -> None:
    first = pair.hosts[0]
    with bootstrap(pair, log, "--continue") as terminal:
        terminal.see(f"password for {PERSON}:")
        terminal.type(f"{PASSWORD}\n")
        terminal.wait_until(lambda: runs(first, during), f"'{during}' did not run", STEP_TIMEOUT_S)
        terminal.type(CTRL_C)
        terminal.see(f"Interrupted during '{step}'. Nothing is lost: ./bootstrap.sh --continue goes on")
        assert terminal.end() == 130
    if step == "packages":
        assert not runs(first, APT)
        assert first.run("dpkg", "--audit").stdout == ""


def test_continue_goes_on_from_there_and_finishes(pair: Cluster) -> None:
    began_s = time.monotonic()
    with bootstrap(pair, "continue", "--continue") as terminal:
        terminal.see(f"password for {PERSON}:")
        terminal.type(f"{PASSWORD}\n")
        terminal.see("Setting up: software.yaml programs.yaml")
        terminal.see("Twin is ready", RUN_TIMEOUT_S)
        assert terminal.end() == 0
    say(f"continue: {time.monotonic() - began_s:.0f} s")
    assert "-- Preflight" not in terminal.shown
    first = pair.hosts[0]
    first.run("curl", "-fsS", "http://127.0.0.1:8000/health")
    # What the interrupted installation left has been put right, and compiled.
    assert first.run("find", "/opt/twin/venv", "-maxdepth", "1", "-name", ".installing").stdout == ""
    first.run("bash", "-c", "ls /opt/twin/venv/lib/python3*/site-packages/httpx/__pycache__/*.pyc")


def test_settings_that_a_broken_run_wrote_are_read_by_the_next(pair: Cluster) -> None:
    first = pair.hosts[0]
    started = ("systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "consul")
    before = first.run(*started).stdout
    changed = ("--tags", "consul", "--limit", first.name, "-e", "consul_log_level=warn")
    with play(pair, "ctrl-c-settings", "playbooks/control_plane.yaml", *changed) as terminal:
        look = ("bash", "-c", "grep log_level /etc/consul.d/consul.hcl")
        terminal.wait_until(lambda: "warn" in first.run(*look).stdout, "nothing changed", STEP_TIMEOUT_S)
        terminal.type(CTRL_C)
        assert terminal.end() != 0
    assert first.run(*started).stdout == before

    again = pair.playbook("playbooks/control_plane.yaml", *changed)
    assert "Restart Consul: done" in again.output
    assert first.run(*started).stdout != before


def test_ctrl_c_while_apt_works_on_another_machine_and_the_next_run_finishes(pair: Cluster) -> None:
    second = pair.hosts[1]
    with play(pair, "ctrl-c-beside", "playbooks/software.yaml") as terminal:
        terminal.wait_until(lambda: runs(second, APT), "apt did not run", STEP_TIMEOUT_S)
        terminal.type(CTRL_C)
        assert terminal.end() != 0

    assert pair.playbook("playbooks/software.yaml", log=LOGS / "faults-software.log").status == 0


def test_a_mirror_that_dies_is_named_and_what_came_is_kept(pair: Cluster) -> None:
    first, second = pair.hosts
    leave_only_the_first(pair, second)
    second.run("mount", "-t", "tmpfs", "-o", f"size={MODELS_MB}m,mode=755", "tmpfs", MODELS)
    second.run("chown", "pipecatapp:", MODELS)
    with play(pair, "mirror-dies", "playbooks/models.yaml") as terminal:
        terminal.wait_until(lambda: arrived(second)[0] > ARRIVED_BYTES, "no model came", STEP_TIMEOUT_S)
        # At once, and so that nobody starts it again.
        first.run("bash", "-c", "systemctl kill --signal=KILL twin-mirror; systemctl stop twin-mirror")
        terminal.see(f"{second.name}: Stop when a model cannot be had: FAILED", STEP_TIMEOUT_S)
        terminal.see(rf"mirror http://{first.address}:8071 .* does not serve now: see to it there")
        terminal.see("then run the same command again; it goes on where it stopped")
        assert terminal.end() != 0
    assert arrived(second)[0] > ARRIVED_BYTES


def leave_only_the_first(cluster: Cluster, node: Node) -> None:
    """Leave the node nothing but its own network, on a slow link."""
    number = node.address.rsplit(".", 1)[1]
    ip("-n", f"{cluster.network.name}h{number}", "route", "del", "default")
    cluster.network.inside("tc", "qdisc", "add", "dev", f"v{number}", "root", *LINK)


def test_a_disk_that_fills_up_under_way_is_named_and_the_next_run_finishes(pair: Cluster) -> None:
    second = pair.hosts[1]
    kept, inode = arrived(second)
    # The whole playbook starts the mirror again, as these two of its steps do.
    with play(pair, "disk-fills", "playbook.yaml", "--tags", "mirror,models") as terminal:
        sizes = []

        def is_growing() -> bool:
            sizes.append(arrived(second)[0])
            return sizes[-1] > kept + ARRIVED_BYTES

        terminal.wait_until(is_growing, "the model did not grow", STEP_TIMEOUT_S)
        assert min(sizes) == kept
        free = f"$(($(stat -f -c '%a * %S' {MODELS}) - {LEFT_MB} * 1048576))"
        second.run("bash", "-c", f"fallocate -l {free} {MODELS}/filler")
        terminal.see(f"{second.name}: Stop when a model cannot be had: FAILED", STEP_TIMEOUT_S)
        terminal.see(
            rf"no room left in {MODELS} .*; what was fetched is kept. Free some room and run the same"
        )
        assert terminal.end() != 0

    second.run("rm", f"{MODELS}/filler")
    pair.network.inside("tc", "qdisc", "del", "dev", f"v{second.address.rsplit('.', 1)[1]}", "root")
    assert pair.playbook("playbooks/models.yaml", log=LOGS / "faults-models.log").changed > 0
    assert second.run("bash", "-c", f"ls -A {PARTIAL}").stdout == ""
    assert second.run("find", MODELS, "-inum", str(inode), "-size", "+100M").stdout.strip()
    second.run("twin", "models", "verify", timeout_s=300)
