"""Who has no token or no certificate gets nothing, and what is secret is nowhere to be read.

The house may be set up already (test_house.py); otherwise its control plane is brought up here. The caller is
beside the nodes, on their network, as a stranger in the house is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from testing.cluster.house import WITH_TOKEN, House, say, wait_for
from testing.cluster_agents import cluster_binary
from testing.hosts.cluster import ROOT, Node

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

PORTS = yaml.safe_load((ROOT / "group_vars/all.yaml").read_text(encoding="utf-8"))["twin_ports"]
SSH = 22
EVERYWHERE = {SSH, PORTS["http"], PORTS["https"]}
"""What docs/security.md says that a stranger finds on each node."""
ON_CONTROLLERS = {PORTS["consul"], PORTS["nomad"], PORTS["mirror"], PORTS["join"]}
NODE_TIMEOUT_S = 120.0

SCAN = """
import socket, struct, sys, threading, time
target = sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((target, 9))
    ends = socket.inet_aton(probe.getsockname()[0]) + socket.inet_aton(target) + struct.pack("!BBH", 0, 6, 20)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.settimeout(1)
own, last_s, found = 61000, 3.0, set()
def syn(port):
    head = struct.pack("!HHLLBBHHH", own, port, 1, 0, 80, 2, 1024, 0, 0)
    total = sum(struct.unpack("!16H", ends + head))
    total = (total >> 16) + (total & 0xFFFF)
    return head[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[18:]
def send():
    for _ in range(3):
        for port in range(1, 65536):
            raw.sendto(syn(port), (target, 0))
        time.sleep(1)
sender = threading.Thread(target=send)
sender.start()
end_s = None
while end_s is None or time.monotonic() < end_s:
    if end_s is None and not sender.is_alive():
        end_s = time.monotonic() + last_s
    try:
        packet, (address, _) = raw.recvfrom(2048)
    except TimeoutError:
        continue
    tcp = packet[(packet[0] & 15) * 4 :]
    port, to, flags = *struct.unpack("!HH", tcp[:4]), tcp[13]
    if address == target and to == own and flags & 18 == 18:
        found.add(port)
print(sorted(found))
"""
"""Ask every TCP port to open (SYN) three times, and listen for which agree (SYN and ACK)."""
RPC = """
import socket, ssl, sys
address, port, certificate = sys.argv[1], int(sys.argv[2]), sys.argv[3]
call, tls = (bytes([int(byte)]) for byte in sys.argv[4:])
raw = socket.create_connection((address, port), 5)
try:
    if certificate != "plain":
        raw.sendall(tls)
        context = ssl._create_unverified_context()
        if certificate != "none":
            context.load_cert_chain(certificate + "/node.pem", certificate + "/node-key.pem")
        raw = context.wrap_socket(raw, server_hostname="x")
    raw.settimeout(5)
    raw.sendall(call)
    print("closed" if raw.recv(1) == b"" else "answered")
except (ssl.SSLError, ConnectionError) as exc:
    print("closed", exc)
except TimeoutError:
    print("open")
"""
BYTES = {"consul": ("0", "3"), "nomad": ("1", "4")}
"""First byte of a connection for calls and for TLS (consul agent/pool/conn.go, nomad helper/pool/)."""
JOB = """
job "visitor" {
  group "web" {
    constraint {
      attribute = "${node.class}"
      value     = "worker"
    }
    network {
      port "http" {}
    }
    service {
      name = "visitor"
      port = "http"
      check {
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "2s"
      }
    }
    task "web" {
      driver = "raw_exec"
      user   = "pipecatapp"
      consul {}
      config {
        command = "/usr/bin/python3"
        args    = ["-m", "http.server", "${NOMAD_PORT_http}", "--directory", "${NOMAD_TASK_DIR}"]
      }
      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
"""
PUBLIC_KEY = "AAAA"
"""How the text of every public ssh key begins: the length of its type's name."""


@pytest.fixture(scope="module")
def plane(house: House) -> House:
    """The house with Consul and Nomad."""
    if not (house.nodes[0].root / "etc/nomad.d/management_token").is_file():
        for node in house.nodes:
            for name in ("consul", "nomad"):
                shutil.copy(cluster_binary(name), node.root / "usr/local/bin" / name)
        for name in ("preflight", "software", "control_plane"):
            house.play(f"playbooks/{name}.yaml")
    return house


def outside(house: House, *command: str) -> str:
    """Output of a command beside the nodes."""
    done = subprocess.run(
        house.cluster.outside(*command), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetch(house: House, url: str, *options: str) -> tuple[int, str]:
    """Status and body that a stranger gets."""
    said = outside(house, "curl", "-sS", "-k", "--max-time", "20", "-w", "\n%{http_code}", *options, url)
    body, _, status = said.rpartition("\n")
    return int(status), body


def shell(node: Node, script: str) -> str:
    """Output of a script on a node, as root."""
    return node.run("bash", "-c", script, timeout_s=120).stdout


def test_without_a_token_consul_lists_nothing(plane: House) -> None:
    url = f"https://{plane.nodes[0].address}:{PORTS['consul']}"
    for path in ("/v1/catalog/nodes", "/v1/agent/members", "/v1/health/state/any"):
        assert fetch(plane, url + path) == (200, "[]"), path
    for path in ("/v1/agent/self", "/v1/kv/?recurse", "/v1/acl/tokens", "/v1/operator/raft/configuration"):
        assert fetch(plane, url + path)[0] in (403, 404), path
    assert fetch(plane, url + "/v1/kv/x", "-X", "PUT", "-d", "y")[0] == 403
    assert "{}" in shell(plane.nodes[1], f"curl -sS http://127.0.0.1:{PORTS['consul']}/v1/catalog/services")


def test_without_a_token_nomad_lists_and_runs_nothing(plane: House) -> None:
    url = f"https://{plane.nodes[0].address}:{PORTS['nomad']}"
    for path in ("/v1/jobs", "/v1/nodes", "/v1/allocations", "/v1/agent/self", "/v1/acl/tokens"):
        assert fetch(plane, url + path)[0] == 403, path
    assert fetch(plane, url + "/v1/vars") == (200, "[]")
    task = {"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}}
    group = {"Name": "g", "Tasks": [task]}
    job = {"ID": "x", "Name": "x", "Type": "batch", "Datacenters": ["*"], "TaskGroups": [group]}
    assert fetch(plane, url + "/v1/jobs", "-X", "PUT", "-d", json.dumps({"Job": job}))[0] == 403


def test_dashboards_open_in_a_browser_over_https(plane: House) -> None:
    for port in (PORTS["consul"], PORTS["nomad"]):
        status, page = fetch(plane, f"https://{plane.nodes[0].address}:{port}/ui/")
        assert status == 200
        assert "<html" in page


def test_a_stranger_finds_only_the_documented_ports(plane: House) -> None:
    for place, node in enumerate(plane.nodes):
        found = set(json.loads(outside(plane, sys.executable, "-c", SCAN, node.address)))
        say(f"{node.name} answers a stranger on {sorted(found)}")
        assert SSH in found
        assert found <= EVERYWHERE | (ON_CONTROLLERS if place == 0 else set())


@pytest.mark.parametrize("system", ["consul", "nomad"])
def test_rpc_wants_a_certificate_of_the_house(plane: House, system: str) -> None:
    controller, worker = plane.nodes[:2]
    port = str(PORTS[f"{system}_rpc"])

    def call(certificate: str) -> str:
        command = ("python3", "-c", RPC, controller.address, port, certificate, *BYTES[system])
        return worker.run(*command).stdout

    assert call("plain").startswith("closed")
    assert call("none").startswith("closed")
    assert call(f"/etc/{system}.d/tls").startswith("open")


def test_a_nodes_own_token_registers_no_other_node(plane: House) -> None:
    worker, other = plane.nodes[1:3]
    entry = json.dumps({"Node": other.name, "Address": "10.0.0.1", "SkipNodeUpdate": False})
    script = (
        "token=$(grep -oE '[0-9a-f-]{36}' /etc/consul.d/tokens.hcl);"
        f" curl -sS -o /dev/null -w '%{{http_code}}' -X PUT -H \"X-Consul-Token: $token\" -d '{entry}'"
        f" http://127.0.0.1:{PORTS['consul']}/v1/catalog/register"
    )
    assert shell(worker, script) == "403"


def test_management_tokens_are_roots_and_on_controllers_only(plane: House) -> None:
    for place, node in enumerate(plane.nodes):
        for system in ("consul", "nomad"):
            told = shell(
                node, f"stat -c '%U %a' /etc/{system}.d/management_token 2>/dev/null || true"
            ).strip()
            assert told == ("root 600" if place == 0 else "")
    assert shell(plane.nodes[0], "stat -c '%U %a' /var/lib/twin-cluster").strip() == "root 700"


def secrets_of(house: House) -> set[str]:
    """Every secret of the cluster's making, as text."""
    read = "cd /var/lib/twin-cluster && find . -type f ! -name 'ca.crt' -exec cat {} +"
    own = r"cat /etc/consul.d/tokens.hcl /etc/nomad.d/secrets.hcl /etc/*.d/tls/node-key.pem"
    text = shell(house.nodes[0], read) + "".join(shell(node, own) for node in house.nodes)
    words = re.findall(r"[A-Za-z0-9+/=-]{36,}", text)
    return {word for word in words if "-----" not in word and not word.startswith(PUBLIC_KEY)}


def test_no_secret_is_in_a_process_list_a_log_or_a_file_that_others_read(plane: House) -> None:
    secrets = secrets_of(plane)
    assert len(secrets) >= 12
    look = (
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; journalctl --no-pager -o cat 2>/dev/null;"
        " find /etc /var/lib /var/log /opt/twin/app/ /tmp /run -xdev -type f -perm -004 -size -2M"
        " -not -path '/var/lib/dpkg/*' -not -path '/var/lib/apt/*' -exec cat {} + 2>/dev/null; true"
    )
    for node in plane.nodes:
        dump = plane.cluster.folder / "everything"
        node.run("bash", "-c", look, timeout_s=120, log=dump)
        text = dump.read_text(encoding="utf-8", errors="replace")
        assert [secret[:6] for secret in secrets if secret in text] == [], node.name
    for log in (ROOT / "build" / "cluster").glob("*.log"):
        text = log.read_text(encoding="utf-8", errors="replace")
        assert [secret[:6] for secret in secrets if secret in text] == [], log.name


def test_a_job_proves_itself_to_consul_and_may_only_look(plane: House) -> None:
    controller = plane.nodes[0]
    (controller.root / "srv/visitor.nomad.hcl").write_text(JOB, encoding="utf-8")
    shell(controller, f"{WITH_TOKEN}; nomad job run -detach /srv/visitor.nomad.hcl")
    try:
        (name,) = wait_for("the job's service", lambda: plane.places("visitor"), NODE_TIMEOUT_S)
        node = plane.node_named(name)
        assert shell(node, "ps -o user= -C python3 | sort -u").split() == ["pipecatapp"]
        login = (
            "token=$(cat /var/lib/nomad/alloc/*/web/secrets/consul_token);"
            f" curl -sS -o /dev/null -w '%{{http_code}} ' -H \"X-Consul-Token: $token\""
            f" http://127.0.0.1:{PORTS['consul']}"
        )
        assert '"visitor"' in shell(node, login.replace("-o /dev/null", "") + "/v1/catalog/services")
        assert shell(node, login + "/v1/kv/x -X PUT -d y").strip() == "403"
        assert shell(node, login + "/v1/acl/tokens").strip() == "403"
        assert (
            shell(node, login + '/v1/agent/service/register -X PUT -d \'{"Name":"page"}\'').strip() == "403"
        )
    finally:
        shell(controller, f"{WITH_TOKEN}; nomad job stop -purge visitor")


def test_certificates_are_rotated_while_the_agents_run(plane: House) -> None:
    def certificate(node: Node, port: int) -> str:
        ask = f"echo | openssl s_client -connect 127.0.0.1:{port} 2>/dev/null | openssl x509 -noout -serial"
        return shell(node, ask)

    def served(node: Node) -> list[str]:
        return [certificate(node, PORTS["nomad"]), *running(node)]

    def running(node: Node) -> list[str]:
        return shell(node, "systemctl show -p MainPID --value consul nomad").split()

    before = [served(node) for node in plane.nodes]
    page_before = [certificate(node, PORTS["https"]) for node in plane.nodes]
    plane.play("playbooks/rotate_certificates.yaml")
    after = [served(node) for node in plane.nodes]

    for old, new in zip(before, after, strict=True):
        assert old[0] != new[0]
        assert old[1:] == new[1:]
    page_after = [certificate(node, PORTS["https"]) for node in plane.nodes]
    if any(page_before):
        # The front runs; without the whole house it does not.
        assert all(old != new for old, new in zip(page_before, page_after, strict=True))
    assert {node["Status"] for node in plane.nomad("/v1/nodes")} == {"ready"}


def test_a_controller_that_starts_again_keeps_its_cluster(plane: House) -> None:
    controller = plane.nodes[0]
    before = {node["ID"] for node in plane.nomad("/v1/nodes")}
    controller.kill()
    controller.start()

    def is_back() -> bool:
        nodes = plane.nomad("/v1/nodes")
        return {node["ID"] for node in nodes} == before and {node["Status"] for node in nodes} == {"ready"}

    assert wait_for("the cluster as it was", is_back, NODE_TIMEOUT_S)
    assert len(plane.consul("/v1/catalog/nodes")) == len(plane.nodes)
    status = plane.play("playbooks/cluster_status.yaml")
    assert all(node.name in status.output for node in plane.nodes)


def test_a_lost_node_is_noticed(plane: House) -> None:
    worker = plane.nodes[2]
    worker.kill()
    try:

        def is_down() -> bool:
            seen = {node["Name"]: node["Status"] for node in plane.nomad("/v1/nodes")}
            # A node whose agent may come back with it is disconnected, any other is down.
            assert seen[worker.name] in ("down", "disconnected"), seen
            return True

        assert wait_for("the loss of a node", is_down, NODE_TIMEOUT_S)
        assert worker.name in plane.play("playbooks/cluster_status.yaml").output
    finally:
        worker.start()
    wait_for(
        "the node's return",
        lambda: all(node["Status"] == "ready" for node in plane.nomad("/v1/nodes")),
        NODE_TIMEOUT_S,
    )


def test_the_firewall_leaves_other_rules_alone(plane: House) -> None:
    worker = plane.nodes[1]
    shell(worker, "nft add table inet owners; nft delete table inet twin")

    plane.play("playbooks/software.yaml", "--tags", "common_firewall", log="firewall")

    assert "table inet owners" in shell(worker, "nft list tables")
    assert "policy drop" in shell(worker, "nft list table inet twin")
    shell(worker, "nft delete table inet owners")
