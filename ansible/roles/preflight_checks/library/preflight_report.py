#!/usr/bin/python
"""Read one machine and report, all at once, what stands in the way of the agent.

It owns the reading of disks, memory, CPU flags, ports, Python, and in a cluster of names, clock and the way
to the other nodes, and the sentences about them. It changes nothing and decides nothing for others: the role
fails on a finding of level `error`.
"""

from __future__ import annotations

import os
import platform
import pwd
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

DOCUMENTATION = """
module: preflight_report
short_description: Report what stands in the way of the agent
description: Reads disks, memory, CPU flags, ports and Python; changes nothing.
options:
  folders: {type: dict, required: true, description: Free space that each folder needs, in MB.}
  ports: {type: list, elements: int, required: true, description: TCP ports that must be free or ours.}
  user: {type: str, required: true, description: User whose listeners are ours.}
  memory_mb: {type: int, required: true, description: Least memory for the models and one worker, in MB.}
  cluster_ports: {type: dict, default: {}, description: Further ports, and the user whose each is.}
  peers: {type: dict, default: {}, description: The other nodes of the cluster, name and address.}
  ssh_port: {type: int, default: 22, description: Port that the other nodes are tried at.}
  peer_ports: {type: dict, default: {}, description: "Nodes that are tried at another port, name and port."}
  let_in_tcp: {type: list, elements: str, default: [], description: TCP ports that people use.}
  let_in_udp: {type: list, elements: str, default: [], description: "UDP ports that people use, like 1-2."}
  control_time: {type: float, default: 0, description: Unix time where Ansible runs; 0 for one machine.}
  clock_s: {type: float, default: 30, description: "How far the clocks may be apart, in seconds."}
"""

PYTHON_MINIMUM = (3, 11)
SUPPORTED_DEBIAN = ("12", "13")
SUPPORTED_MACHINES = ("x86_64", "aarch64")
PEER_TIMEOUT_S = 3.0
"""Longest wait for another node to take a connection; on a LAN it takes milliseconds."""
TCP_LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (include/net/tcp_states.h: TCP_LISTEN = 10)."""


class Finding(NamedTuple):
    """One thing a person should know before anything is installed."""

    level: str
    """`error` stops, `warning` does not."""
    what: str
    """What is so."""
    hint: str
    """What to do."""


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above `path` that exists."""
    while not path.exists():
        path = path.parent
    return path


def check_folder(path: Path, needed_mb: int, free_mb: int, writable: bool) -> list[Finding]:
    """Whether a folder can take what goes there."""
    if not writable:
        return [Finding("error", f"{path} is on a disk that cannot be written", "Mount it read-write.")]
    if free_mb < needed_mb:
        return [
            Finding(
                "error",
                f"{path} has {free_mb} MB free and needs {needed_mb} MB",
                "Free some space (./bootstrap.sh --system-cleanup), or put the folder on a larger disk.",
            )
        ]
    return []


def check_memory(total_mb: int, needed_mb: int) -> list[Finding]:
    """Whether the models and one worker fit into memory."""
    if total_mb < needed_mb:
        return [
            Finding(
                "error",
                f"this machine has {total_mb} MB of memory and needs {needed_mb} MB",
                "Add memory, or let another machine think: ./bootstrap.sh --external-model-server.",
            )
        ]
    return []


def check_cpu(machine: str, flags: frozenset[str]) -> list[Finding]:
    """Whether the engines run on this CPU at all, and which of them will."""
    if machine not in SUPPORTED_MACHINES:
        known = ", ".join(SUPPORTED_MACHINES)
        return [Finding("error", f"no engine is built for a {machine} CPU", f"Use one of: {known}.")]
    if machine != "x86_64":
        return []
    if "ssse3" not in flags:
        return [Finding("error", "the CPU has no SSSE3", "The language model needs a Core 2 or later.")]
    if "sse4_1" not in flags:
        return [
            Finding("warning", "the CPU has no SSE4.1", "Speech is recognised by the simpler pocketsphinx.")
        ]
    return []


def check_port(port: int, owner: str, ours: str) -> list[Finding]:
    """Whether a port is free, or held by our own service; `owner` is "" when nobody listens."""
    if owner in ("", ours):
        return []
    return [
        Finding(
            "error",
            f"port {port} is taken by a program of user {owner}",
            f"Stop it (ss -ltnp 'sport = :{port}' names it), or change the port in group_vars/all.yaml.",
        )
    ]


def check_system(debian: str, python: tuple[int, ...]) -> list[Finding]:
    """Whether the system is one that this is tried on; `debian` is "" for another system."""
    findings = []
    if python < PYTHON_MINIMUM:
        wanted = ".".join(map(str, PYTHON_MINIMUM))
        have = ".".join(map(str, python))
        findings.append(
            Finding("error", f"/usr/bin/python3 is {have}, older than {wanted}", "Use Debian 12 or 13.")
        )
    if debian not in SUPPORTED_DEBIAN:
        findings.append(
            Finding("warning", "this is neither Debian 12 nor 13", "It may work; it is not tried there.")
        )
    return findings


def check_clock(ahead_s: float, allowed_s: float) -> list[Finding]:
    """Whether the clock agrees with the one where Ansible runs; it is `ahead_s` ahead of it."""
    if abs(ahead_s) <= allowed_s:
        return []
    way = "ahead of" if ahead_s > 0 else "behind"
    return [
        Finding(
            "error",
            f"the clock is {abs(ahead_s):.0f} s {way} the control node's ({allowed_s:.0f} s are allowed)",
            "Let it follow a time server: apt install systemd-timesyncd, then timedatectl set-ntp true.",
        )
    ]


def check_names(own: str, unknown: list[str]) -> list[Finding]:
    """Whether names resolve; `unknown` are those that do not, `own` is this machine's."""
    findings = []
    if own in unknown:
        hint = f"Add the line '127.0.1.1 {own}' to /etc/hosts."
        findings.append(Finding("warning", f"the machine does not know its own name, {own}", hint))
    others = [name for name in unknown if name != own]
    if others:
        findings.append(
            Finding(
                "warning",
                f"the package source {', '.join(others)} cannot be found by name",
                "See /etc/resolv.conf; without a way out, packages come from the first controller.",
            )
        )
    return findings


def check_peers(unreached: dict[str, str]) -> list[Finding]:
    """Whether the other nodes can be reached; `unreached` are names and addresses of those that cannot."""
    return [
        Finding(
            "error",
            f"{name} at {address} cannot be reached from here",
            "See the cable, the address in the inventory, and a firewall between them.",
        )
        for name, address in unreached.items()
    ]


def check_firewalls(active: list[str], tcp: list[str], udp: list[str], nodes: list[str]) -> list[Finding]:
    """What another firewall needs to be told; `active` are the programs, ranges of ports are like 1-2."""
    wanted = [f"{port}/tcp" for port in tcp] + [f"{port}/udp" for port in udp]
    commands = {
        "ufw": [f"ufw allow {port.replace('-', ':')}" for port in wanted]
        + [f"ufw allow from {node}" for node in nodes],
        "firewalld": [f"firewall-cmd --permanent --add-port={port}" for port in wanted]
        + [f"firewall-cmd --permanent --zone=trusted --add-source={node}" for node in nodes]
        + ["firewall-cmd --reload"],
    }
    return [
        Finding(
            "warning",
            f"{program} is active here, and drops what it was not told to let in",
            f"Unless that is done: {'; '.join(commands[program])}.",
        )
        for program in active
    ]


def other_firewalls(root: Path = Path("/")) -> list[str]:
    """The firewalls of others that are active: `ufw`, `firewalld`."""
    ufw = root / "etc/ufw/ufw.conf"
    is_on = ufw.is_file() and re.search(
        r"^ENABLED=yes\b", ufw.read_text("utf-8"), re.MULTILINE | re.IGNORECASE
    )
    # firewalld writes its process's number here while it runs.
    return ["ufw"] * bool(is_on) + ["firewalld"] * (root / "run/firewalld.pid").exists()


def package_hosts(sources: str) -> list[str]:
    """Names of the hosts in the text of apt's sources, in order, once each."""
    return list(
        dict.fromkeys(re.findall(r"^(?:deb|URIs:)[^#\n]*?https?://([^/:\s]+)", sources, re.MULTILINE))
    )


def resolves(name: str) -> bool:
    """Whether a name has an address."""
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def takes_connection(address: str, port: int) -> bool:
    """Whether a machine takes a TCP connection."""
    try:
        socket.create_connection((address, port), PEER_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def apt_sources() -> str:
    """Text of all of apt's sources."""
    etc = Path("/etc/apt")
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    return "\n".join(file.read_text("utf-8", errors="replace") for file in files if file.is_file())


def port_owner(port: int, tables: tuple[str, ...] = ("/proc/net/tcp", "/proc/net/tcp6")) -> str:
    """Name of the user who listens on a TCP port, "" when nobody does."""
    for table in tables:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == TCP_LISTEN and int(columns[1].rsplit(":", 1)[1], 16) == port:
                uid = int(columns[7])
                try:
                    return pwd.getpwuid(uid).pw_name
                except KeyError:
                    return str(uid)
    return ""


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """Flags of the first CPU in the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def memory_total_mb(meminfo: str) -> int:
    """Memory in the text of /proc/meminfo (MB)."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def debian_version(os_release: str) -> str:
    """Debian's major version in the text of /etc/os-release, "" for another system."""
    facts = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return facts.get("VERSION_ID", "").strip('"') if facts.get("ID", "").strip('"') == "debian" else ""


def read_machine(params: dict[str, Any]) -> list[Finding]:
    """Everything found on this machine, errors first."""
    findings = check_system(debian_version(Path("/etc/os-release").read_text("utf-8")), sys.version_info[:2])
    findings += check_cpu(platform.machine(), cpu_flags(Path("/proc/cpuinfo").read_text("utf-8")))
    findings += check_memory(memory_total_mb(Path("/proc/meminfo").read_text("ascii")), params["memory_mb"])
    for folder, needed_mb in params["folders"].items():
        at = existing_parent(Path(folder))
        disk = os.statvfs(at)
        writable = not disk.f_flag & os.ST_RDONLY and os.access(at, os.W_OK)
        free_mb = disk.f_bavail * disk.f_frsize // 2**20
        findings += check_folder(Path(folder), int(needed_mb), free_mb, writable)
    for port in params["ports"]:
        findings += check_port(port, port_owner(port), params["user"])
    nodes = list(params["peers"].values())
    findings += check_firewalls(other_firewalls(), params["let_in_tcp"], params["let_in_udp"], nodes)
    if params["control_time"]:
        findings += read_cluster(params)
    return sorted(findings, key=lambda finding: finding.level != "error")


def read_cluster(params: dict[str, Any]) -> list[Finding]:
    """What a node of a cluster needs beside."""
    findings = check_clock(time.time() - params["control_time"], params["clock_s"])
    own = socket.gethostname()
    findings += check_names(
        own, [name for name in [own, *package_hosts(apt_sources())] if not resolves(name)]
    )
    ports = {name: params["ssh_port"] for name in params["peers"]} | params["peer_ports"]
    findings += check_peers(
        {name: at for name, at in params["peers"].items() if not takes_connection(at, int(ports[name]))}
    )
    for number, user in params["cluster_ports"].items():
        findings += check_port(int(number), port_owner(int(number)), user)
    return findings


def main() -> None:
    """Run as an Ansible module."""
    from ansible.module_utils.basic import AnsibleModule

    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "dict", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "user": {"type": "str", "required": True},
            "memory_mb": {"type": "int", "required": True},
            "cluster_ports": {"type": "dict", "default": {}},
            "peers": {"type": "dict", "default": {}},
            "ssh_port": {"type": "int", "default": 22},
            "peer_ports": {"type": "dict", "default": {}},
            "let_in_tcp": {"type": "list", "elements": "str", "default": []},
            "let_in_udp": {"type": "list", "elements": "str", "default": []},
            "control_time": {"type": "float", "default": 0},
            "clock_s": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    findings = read_machine(module.params)
    module.exit_json(
        changed=False,
        errors=[f"{found.what}. {found.hint}" for found in findings if found.level == "error"],
        warnings_found=[f"{found.what}. {found.hint}" for found in findings if found.level == "warning"],
    )


if __name__ == "__main__":
    main()
