"""What preflight says about a machine; its reading is pure functions over text and numbers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "ansible/roles/preflight_checks/library/preflight_report.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("preflight_report", MODULE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


preflight = load()


def test_a_machine_that_will_do_has_no_findings() -> None:
    assert preflight.check_system("13", (3, 13)) == []
    assert preflight.check_cpu("x86_64", frozenset({"ssse3", "sse4_1"})) == []
    assert preflight.check_memory(8000, 2800) == []
    assert preflight.check_folder(Path("/opt/twin"), 2500, 90000, True) == []
    assert preflight.check_port(8000, "", "pipecatapp") == []


def test_an_old_python_is_an_error() -> None:
    (finding,) = preflight.check_system("12", (3, 9))
    assert finding.level == "error"
    assert "3.9" in finding.what and "3.11" in finding.what


def test_another_system_is_only_a_warning() -> None:
    (finding,) = preflight.check_system("", (3, 12))
    assert finding.level == "warning"


def test_a_core_2_without_sse4_1_is_a_warning_and_older_is_an_error() -> None:
    assert [found.level for found in preflight.check_cpu("x86_64", frozenset({"ssse3"}))] == ["warning"]
    assert [found.level for found in preflight.check_cpu("x86_64", frozenset({"sse2"}))] == ["error"]


def test_an_unknown_machine_lists_the_known_ones() -> None:
    (finding,) = preflight.check_cpu("riscv64", frozenset())
    assert "x86_64, aarch64" in finding.hint


def test_too_little_space_says_how_much_there_is_and_must_be() -> None:
    (finding,) = preflight.check_folder(Path("/opt/twin"), 2500, 900, True)
    assert finding.what == "/opt/twin has 900 MB free and needs 2500 MB"


def test_a_disk_that_cannot_be_written_is_said_first() -> None:
    (finding,) = preflight.check_folder(Path("/opt/twin"), 2500, 0, False)
    assert "cannot be written" in finding.what


def test_our_own_port_is_no_finding_and_anothers_is() -> None:
    assert preflight.check_port(8000, "pipecatapp", "pipecatapp") == []
    (finding,) = preflight.check_port(8000, "www-data", "pipecatapp")
    assert "8000" in finding.what and "www-data" in finding.what


def test_too_little_memory_offers_another_machine() -> None:
    (finding,) = preflight.check_memory(1024, 2800)
    assert "--external-model-server" in finding.hint


def test_the_owner_of_a_port_is_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    line = "   0: 00000000:1F40 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 1\n"
    header = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    uid = os.getuid()
    table.write_text(header + line.format(state="0A", uid=uid), encoding="ascii")
    assert preflight.port_owner(8000, (str(table),)) != ""
    assert preflight.port_owner(8001, (str(table),)) == ""
    table.write_text(header + line.format(state="01", uid=uid), encoding="ascii")
    assert preflight.port_owner(8000, (str(table),)) == ""


def test_facts_are_read_from_the_systems_own_texts() -> None:
    assert preflight.cpu_flags("processor: 0\nflags\t\t: fpu sse4_1 avx\n") == {"fpu", "sse4_1", "avx"}
    assert preflight.memory_total_mb("MemTotal:        8000000 kB\nMemFree: 1 kB\n") == 7812
    assert preflight.debian_version('ID=debian\nVERSION_ID="13"\n') == "13"
    assert preflight.debian_version("ID=ubuntu\nVERSION_ID=24.04\n") == ""


def test_a_clock_that_is_far_off_names_both_the_distance_and_the_remedy() -> None:
    assert preflight.check_clock(-4.0, 30.0) == []
    (found,) = preflight.check_clock(-95.0, 30.0)
    assert found.level == "error"
    assert "95 s behind" in found.what
    assert "set-ntp" in found.hint


def test_names_that_do_not_resolve_are_warnings() -> None:
    assert preflight.check_names("desk1", []) == []
    own, source = preflight.check_names("desk1", ["desk1", "packages.example"])
    assert (own.level, source.level) == ("warning", "warning")
    assert "127.0.1.1 desk1" in own.hint
    assert "packages.example" in source.what


def test_every_node_that_cannot_be_reached_is_named() -> None:
    found = preflight.check_peers({"desk2": "192.168.1.22", "desk3": "192.168.1.23"})
    assert [finding.level for finding in found] == ["error", "error"]
    assert "desk3 at 192.168.1.23" in found[1].what


def test_hosts_of_package_sources_are_read_in_both_of_apts_formats() -> None:
    text = (
        "deb http://packages.example/debian trixie main\n"
        "Types: deb\nURIs: https://mirror.example:8080/debian\n"
        "# deb http://old.example/debian x\ndeb [arch=amd64] http://packages.example/security x main\n"
    )
    assert preflight.package_hosts(text) == ["packages.example", "mirror.example"]


def test_another_firewall_gets_the_commands_that_let_people_and_nodes_in(tmp_path: Path) -> None:
    assert preflight.other_firewalls(tmp_path) == []
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/ufw.conf").write_text("# x\nENABLED=no\n", encoding="utf-8")
    assert preflight.other_firewalls(tmp_path) == []
    (tmp_path / "etc/ufw/ufw.conf").write_text("# x\nENABLED=yes\nLOGLEVEL=low\n", encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/firewalld.pid").touch()
    active = preflight.other_firewalls(tmp_path)
    assert active == ["ufw", "firewalld"]
    ufw, firewalld = preflight.check_firewalls(active, ["8000", "8443"], ["32768-60999"], ["10.0.0.2"])
    assert ufw.level == firewalld.level == "warning"
    commands = "ufw allow 8000/tcp; ufw allow 8443/tcp; ufw allow 32768:60999/udp; ufw allow from 10.0.0.2."
    assert ufw.hint.endswith(commands)
    assert "--add-port=32768-60999/udp" in firewalld.hint
    assert firewalld.hint.endswith("--zone=trusted --add-source=10.0.0.2; firewall-cmd --reload.")
