"""The front of a cluster's node: its settings as a real Nomad fills them in from a real Consul."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.ansible_code import ROOT
from testing.cluster_agents import ConsulAgent, NomadAgent
from testing.cluster_fixtures import consul_agent
from testing.fronts import START_TIMEOUT_S, front, told, write_settings
from testing.nomad_modules import nomad_job

__all__ = ["consul_agent"]

pytestmark = pytest.mark.integration

JOB = """
variable "configuration" {
  type = string
}
job "ingress" {
  datacenters = ["twin"]
  group "front" {
    network {
      port "http" {}
    }
    SERVICE
    task "haproxy" {
      driver = "raw_exec"
      consul {}
      config {
        command = "/bin/sleep"
        args    = ["600"]
      }
      template {
        destination = "${NOMAD_TASK_DIR}/haproxy.cfg"
        change_mode = "noop"
        data        = var.configuration
      }
    }
  }
}
"""
"""The shipped job's service and template, without its fixed ports and its user."""


def shipped_service() -> str:
    text = (ROOT / "ansible/jobs/ingress.nomad.hcl").read_text(encoding="utf-8")
    begin = text.index("    service {")
    return text[begin : text.index("\n    }\n", begin) + 6]


@pytest.fixture(scope="module")
def port(consul_agent: ConsulAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a front whose settings Nomad has written; Consul knows of another machine's front."""
    written = write_settings(tmp_path_factory.mktemp("front"), "cluster")
    template = (written.folder / "haproxy.cfg").read_text(encoding="utf-8")
    consul_agent.register("ingress", 8000, address="203.0.113.8", meta={"host": "OldPC.fritz.box"})
    with NomadAgent(tmp_path_factory.mktemp("nomad"), consul_agent) as nomad:
        nomad.start()
        variables = nomad_job.variables_text({"configuration": template})
        order = {
            "JobHCL": JOB.replace("SERVICE", shipped_service()),
            "Variables": variables,
            "Canonicalize": True,
        }
        job = nomad.request("POST", "/jobs/parse", order)
        nomad.request("POST", "/jobs", {"Job": job})
        settings = filled_in(nomad, f"{socket.gethostname().lower()}.lan")
        (written.folder / "haproxy.cfg").write_text(settings, encoding="utf-8")
    with front(written):
        yield written.port


def filled_in(nomad: NomadAgent, wanted: str) -> str:
    """Return the settings once they name what is `wanted`, and the machine that Consul knows."""
    end_s = time.monotonic() + START_TIMEOUT_S * 3
    text = ""
    while wanted not in text or "oldpc.lan" not in text:
        assert time.monotonic() < end_s, text or nomad.log_tail()
        time.sleep(0.1)
        for path in Path(nomad.folder).glob("**/haproxy/local/haproxy.cfg"):
            text = path.read_text(encoding="utf-8")
    return text


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "mypc.fritz.box",
        "192.168.1.5",
        "nomad-test",
        "nomad-test.lan",
        "consul-test.local",
        "oldpc",
        "oldpc.local",
        "OldPC.fritz.box.",
        "203.0.113.8",
        socket.gethostname(),
    ],
)
def test_every_machine_of_the_house_is_known_by_name(port: int, name: str) -> None:
    # Nobody is behind this front: who is let through is told so.
    assert told(port, "GET /api/memory HTTP/1.1", f"Host: {name}:8000")[0] == 503


@pytest.mark.parametrize("name", ["evil.example", "oldpc.evil.example", "attic", "203.0.113.9"])
def test_others_are_not(port: int, name: str) -> None:
    assert told(port, "GET /api/memory HTTP/1.1", f"Host: {name}:8000")[0] == 421
