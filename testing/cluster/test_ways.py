"""One machine's ways with ./bootstrap.sh: alone, then a cluster of one, its flags there, and away again.

The tests go on from one another, in order, on a machine of their own, where a person types the commands.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from testing.cluster.house import LOGS, ROOT, House, say, wait_for
from testing.cluster.terminal import Terminal
from testing.hosts.cluster import Cluster, Node, built_programs, warm_caches

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

GREETING = "Good evening from the den."
SETTING = f"      pipecatapp_settings: {{TWIN_GREETING: {GREETING}}}\n"
LOCAL = "      ansible_connection: local\n"
RUN_TIMEOUT_S = 1500.0
SETTLE_TIMEOUT_S = 120.0
QUIET_S = 5.0
"""How long nothing may come while it waits; the next role begins within a second."""
OURS = "twin|nomad|consul|haproxy|pipecatapp|xllamacpp"
LEFT = f"""
ls -d /opt/twin /etc/twin /etc/nomad.d /etc/consul.d /var/cache/twin /usr/local/bin/twin 2>/dev/null
ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants | grep -E "twin|nomad|consul"
systemctl list-units --all --plain --no-legend "twin*" nomad.service consul.service
ss -tulpnH | grep -vE "sshd"
ps -eo args | grep -E "{OURS}" | grep -vE "grep|bash -c"
true
"""
"""Prints what an uninstalled machine has no more: nothing."""


@pytest.fixture(scope="module")
def den() -> Iterator[House]:
    """A fresh machine with a checkout, in nobody's cluster."""
    lent = warm_caches() | {"/srv/checkout": ROOT}
    with Cluster(1, lent=lent, first_lent=built_programs()) as cluster:
        node = cluster.hosts[0]
        node.run("git", "clone", "--quiet", "/srv/checkout", "/root/twin")
        inventory = node.root / "root/twin/inventory.yaml"
        text = inventory.read_text(encoding="utf-8")
        assert LOCAL in text
        inventory.write_text(text.replace(LOCAL, LOCAL + SETTING), encoding="utf-8")
        yield House(cluster)


def bootstrap(den: House, *options: str, name: str) -> str:
    """Run ./bootstrap.sh as a person on the machine does; print how long it took and return what it said."""
    LOGS.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    command = f"cd /root/twin && ./bootstrap.sh {' '.join(options)}"
    log = LOGS / f"ways-{name}.log"
    said = den.nodes[0].run("bash", "-c", command, timeout_s=RUN_TIMEOUT_S, log=log).stdout
    say(f"./bootstrap.sh {' '.join(options)}: {time.monotonic() - began_s:.0f} s, changed={changed(said)}")
    return said


def changed(said: str) -> int:
    return sum(int(number) for number in re.findall(r"changed=(\d+)", said))


def authority(node: Node) -> str:
    return node.run("cat", "/var/lib/twin/tls/ca.crt").stdout


def dog(den: House) -> str:
    return str(den.chat(den.nodes[0], "What is my dog called?")["text"])


def workers_settings(node: Node) -> str:
    """The environment of the agent's processes."""
    find = 'for p in $(pgrep -f "pipecatapp serve"); do tr "\\0" "\\n" </proc/$p/environ; done'
    return node.run("bash", "-c", find).stdout


def test_it_starts_alone_and_learns_a_fact(den: House) -> None:
    said = bootstrap(den, name="alone")

    assert "Mode: standalone" in said
    den.chat(den.nodes[0], "Please remember that my dog is called Biscuit.")
    assert "Biscuit" in dog(den)
    assert f"TWIN_GREETING={GREETING}" in workers_settings(den.nodes[0])


def test_it_becomes_a_cluster_and_keeps_memory_settings_and_authority(den: House) -> None:
    node = den.nodes[0]
    before = authority(node)
    said = bootstrap(den, "--role", "controller", name="controller")

    assert f"./bootstrap.sh --role worker --controller-ip {node.address} --token " in said
    assert authority(node) == before
    for url in ("http://127.0.0.1:8000/health", f"https://{node.name}:8443/health"):
        node.run("curl", "-fsS", "--cacert", "/var/lib/twin/tls/ca.crt", url)
    wait_for("the fact", lambda: "Biscuit" in dog(den), SETTLE_TIMEOUT_S)
    assert f"TWIN_GREETING={GREETING}" in workers_settings(node)
    units = node.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "twin-*").stdout
    assert not re.search(r"twin-(front|agent|llm)", units), units
    running = node.run("ps", "-eo", "args").stdout
    assert running.count("-m pipecatapp serve") == 1, running
    assert running.count("xllamacpp_server") == 1, running


def test_again_it_changes_nothing_and_stays_a_cluster(den: House) -> None:
    before = {job["ID"]: job["JobModifyIndex"] for job in den.nomad("/v1/jobs")}
    said = bootstrap(den, "--leave-services-running", name="again")

    assert "Mode: cluster" in said
    assert changed(said) == 0
    assert {job["ID"]: job["JobModifyIndex"] for job in den.nomad("/v1/jobs")} == before
    with pytest.raises(RuntimeError, match="this machine is a controller of a cluster|names the machines"):
        bootstrap(den, "--standalone", name="refused")
    with pytest.raises(RuntimeError, match="is or was a controller"):
        bootstrap(den, "--role worker --controller-ip 192.0.2.1 --token x", name="refused")


def test_purged_jobs_come_back_with_the_memory(den: House) -> None:
    jobs = {job["ID"]: job["CreateIndex"] for job in den.nomad("/v1/jobs")}
    said = bootstrap(den, "--purge-jobs", "--tags", "memory_service,ingress,pipecatapp", name="purge")

    assert "Purged: ingress, memory-service, pipecat-app" in said
    assert "WARNING" not in said
    fresh = {job["ID"]: job["CreateIndex"] for job in den.nomad("/v1/jobs")}
    assert fresh.keys() == jobs.keys()
    assert all(fresh[name] > jobs[name] for name in jobs)
    wait_for("the fact", lambda: "Biscuit" in dog(den), SETTLE_TIMEOUT_S)


def test_watch_waits_for_enter(den: House) -> None:
    script = "cd /root/twin && ./bootstrap.sh --watch models --tags models,health_check"
    command = den.nodes[0].command("bash", "-c", script)
    with Terminal(command, LOGS / "ways-watch.log") as terminal:
        terminal.see("models is done. Look around; Enter goes on", RUN_TIMEOUT_S)
        time.sleep(QUIET_S)
        assert "-- Health" not in terminal.shown
        terminal.type("\n")
        terminal.see("-- Health", RUN_TIMEOUT_S)
        assert terminal.end(RUN_TIMEOUT_S) == 0


def test_a_server_elsewhere_thinks_when_asked_to(den: House) -> None:
    node = den.nodes[0]
    serve = (
        "systemd-run --quiet --unit=elsewhere --uid=pipecatapp -p WorkingDirectory=/opt/twin/app"
        " /opt/twin/venv/bin/python -m pipecatapp.adapters.llm.xllamacpp_server"
        " --model $(ls /opt/twin/models/*.gguf | head -n 1) --port 9090 --threads 1 --context 4096 --slots 2"
    )
    node.run("bash", "-c", serve)
    command = "cd /root/twin && LLM_BASE_URL=http://127.0.0.1:9090/v1 ./bootstrap.sh --role controller"
    run = f"{command} --external-model-server --tags models,pipecatapp,join"
    node.run("bash", "-c", run, timeout_s=RUN_TIMEOUT_S, log=LOGS / "ways-external.log")

    assert node.run("ps", "-eo", "args").stdout.count("xllamacpp_server") == 1
    assert "LLM_BASE_URL=http://127.0.0.1:9090/v1" in workers_settings(node)
    wait_for(
        "an answer",
        lambda: "Paris" in den.chat(node, "What is the capital of France?")["text"],
        SETTLE_TIMEOUT_S,
    )
    assert "127.0.0.1:9090" in node.run("cat", "/etc/ansible/facts.d/twin.fact").stdout
    node.run("systemctl", "stop", "elsewhere")


def give_back(node: Node) -> None:
    """Take what the machine was lent out of the folders that go; it is not the machine's to delete."""
    mounts = node.run("cat", "/proc/self/mounts").stdout.splitlines()
    lent = [line.split()[1] for line in mounts if "/twin/" in line.split()[1]]
    assert len(lent) == 3, lent
    programs = "/opt/twin/programs"
    node.run("cp", "-a", f"{programs}/artifacts", f"{programs}/own")
    node.run("umount", "--lazy", *lent)
    node.run("rmdir", f"{programs}/artifacts")
    node.run("mv", f"{programs}/own", f"{programs}/artifacts")


def test_uninstalled_it_has_nothing_left_but_the_data(den: House) -> None:
    node = den.nodes[0]
    give_back(node)
    node.run("/root/twin/scripts/uninstall", "--yes", timeout_s=300, log=LOGS / "ways-uninstall.log")

    left = node.run("bash", "-c", LEFT).stdout
    assert left == ""
    assert "alloc" not in node.run("cat", "/proc/self/mounts").stdout
    node.run("ls", "-d", "/var/lib/twin", "/var/lib/twin-cluster", "/var/lib/consul")
    ask = den.cluster.outside("curl", "-sS", "--max-time", "10", f"http://{node.address}:8000/health")
    refused = subprocess.run(ask, check=False, capture_output=True, text=True)
    assert refused.returncode == 7, refused
