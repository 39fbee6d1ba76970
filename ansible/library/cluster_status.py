#!/usr/bin/python
"""Tell a person how the cluster is: nodes, leaders, jobs, services, and what needs a look.

It owns the questions to Consul and Nomad and the table. It changes nothing. The table is a pure function of
the answers.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import BOTH_SYSTEMS, Api, ApiError, takes_jobs

DOCUMENTATION = """
module: cluster_status
short_description: Tell how the cluster is
description: Asks the agents of a controller; returns a table and the sentences about what needs a look.
options:
  consul_url: {type: str, required: true, description: Where Consul's agent listens.}
  consul_token: {type: str, required: true, description: A token that may see everything.}
  nomad_url: {type: str, required: true, description: Where Nomad's agent listens.}
  nomad_token: {type: str, required: true, description: A token that may see everything.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  certificate: {type: str, required: true, description: File with a certificate of this node's.}
  inventory: {type: dict, required: true, description: "Nodes of the inventory: name and role."}
"""
RETURN = """
table: {description: The table, type: list, returned: always}
attention: {description: Sentences about what is not well, type: list, returned: always}
"""

NOTHING = "-"
MEMBER_STATES = {1: "alive", 2: "leaving", 3: "left", 4: "failed"}
"""States of a member by Consul's number (hashicorp/serf, serf.MemberStatus)."""

WARN_DAYS = 60
"""A certificate that ends sooner than that is told (days); playbook.yaml renews it by then."""
DAY_S = 86400.0

REMEDIES = {"drains": "drain -disable", "takes no jobs": "eligibility -enable"}
"""Remarks on a node that runs and is left out, and what of `nomad node` lets it back."""


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as text, each column as wide as its widest cell; the first row is the head."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]


def node_rows(answers: dict[str, Any]) -> list[list[str]]:
    """A line for each node that the inventory, Consul or Nomad knows."""
    members = {member["Name"]: member for member in answers["members"]}
    clients = {node["Name"]: node for node in sorted(answers["nodes"], key=lambda node: node["CreateIndex"])}
    leads = {
        server["Node"].split(".")[0]
        for server in [*answers["nomad_raft"]["Servers"], *answers["consul_raft"]["Servers"]]
        if server["Leader"]
    }
    rows = [["NODE", "ROLE", "ADDRESS", "CONSUL", "NOMAD", "VERSIONS", ""]]
    for name in sorted(answers["inventory"].keys() | members.keys() | clients.keys()):
        member, client = members.get(name, {}), clients.get(name, {})
        tags = member.get("Tags", {})
        versions = [tags.get("build", "").split(":")[0], client.get("Version", "")]
        remarks = ["leads"] if name in leads else []
        if client.get("Drain"):
            remarks.append("drains")
        elif client.get("SchedulingEligibility") == "ineligible":
            remarks.append("takes no jobs")
        if name not in answers["inventory"]:
            remarks.append("not in the inventory")
        rows.append(
            [
                name,
                answers["inventory"].get(name, NOTHING),
                member.get("Addr") or client.get("Address") or NOTHING,
                MEMBER_STATES.get(member.get("Status", 0), "unknown"),
                client.get("Status", "unknown"),
                ", ".join(version or NOTHING for version in versions),
                ", ".join(remarks),
            ]
        )
    return rows


def summaries(job: dict[str, Any]) -> list[dict[str, Any]]:
    """How many allocations of each of a job's groups are in which state, as Nomad lists jobs."""
    return list(((job.get("JobSummary") or {}).get("Summary") or {}).values())


def job_rows(jobs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for each job."""
    rows = [["JOB", "TYPE", "STATE", "RUNNING", "WAITING", "FAILED"]]
    for job in sorted(jobs, key=lambda job: str(job["ID"])):
        groups = summaries(job)

        def total(*states: str, groups: Sequence[dict[str, Any]] = groups) -> str:
            return str(sum(group.get(state, 0) for group in groups for state in states))

        counts = [total("Running"), total("Queued", "Starting"), total("Failed", "Lost")]
        rows.append([job["ID"], job["Type"], job["Status"], *counts])
    return rows


def service_rows(checks: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for each service: how many of its instances pass all their checks, and where they are."""
    instances: dict[str, dict[tuple[str, str], bool]] = {}
    for check in checks:
        if check.get("ServiceName"):
            of = instances.setdefault(check["ServiceName"], {})
            key = (check["Node"], check["ServiceID"])
            of[key] = of.get(key, True) and check["Status"] == "passing"
    rows = [["SERVICE", "PASSING", "ON"]]
    for name, of in sorted(instances.items()):
        nodes = sorted({node for node, _ in of})
        rows.append([name, f"{sum(of.values())} of {len(of)}", ", ".join(nodes)])
    return rows


def machines_without(job: dict[str, Any], nodes: list[dict[str, Any]]) -> int:
    """On how many machines that take jobs a job does not run that belongs on every one of them."""
    if job["Type"] != "system" or job["Stop"]:
        return 0
    wanted = sum(map(takes_jobs, nodes))
    return max((wanted - group["Running"] for group in summaries(job)), default=0)


def attention(answers: dict[str, Any]) -> list[str]:
    """Sentences about what is not well."""
    found = []
    ids = {
        node["Name"]: node.get("ID", "")
        for node in sorted(answers["nodes"], key=lambda node: node["CreateIndex"])
    }
    for row in node_rows(answers)[1:]:
        name, role, _, consul, nomad, _, remarks = row
        if role == NOTHING:
            found.append(
                f"{name} is in the cluster and not in the inventory: write it there; if it is off for "
                f"good, playbooks/remove_node.yaml -e hostname={name} -e gone=true."
            )
        elif (consul, nomad) != ("alive", "ready"):
            found.append(
                f"{name}: Consul says {consul}, Nomad says {nomad}. See journalctl -u consul -u nomad there."
            )
        elif remarks and (command := REMEDIES.get(remarks.removeprefix("leads, "))):
            found.append(
                f"{name} {remarks.removeprefix('leads, ')}: unless something is being done to it, nomad node "
                f"{command} {ids[name][:8]} on a controller."
            )
    for system in ("consul", "nomad"):
        voters = [server for server in answers[f"{system}_raft"]["Servers"] if server["Voter"]]
        wanted = [name for name, role in answers["inventory"].items() if role == "controller"]
        if len(voters) != len(wanted):
            counts = f"{len(voters)} voting servers, the inventory {len(wanted)} controllers"
            found.append(f"{system.capitalize()} has {counts}.")
    for job in answers["jobs"]:
        # A batch job that has ended is dead, and so is one that somebody stopped.
        is_down = job["Status"] == "dead" and job["Type"] != "batch" and not job["Stop"]
        if job["Status"] == "pending" or is_down:
            found.append(
                f"Job {job['ID']} is {job['Status']}: heal_cluster.yaml, or nomad job status {job['ID']}."
            )
        elif (missing := machines_without(job, answers["nodes"])) > 0:
            found.append(
                f"Job {job['ID']} belongs on every machine and is missing on {missing}: "
                f"heal_cluster.yaml, or nomad job status {job['ID']}."
            )
    for name, passing, nodes in service_rows(answers["checks"])[1:]:
        well, _, every = passing.partition(" of ")
        if well != every:
            found.append(f"Service {name} passes its checks on {well} of {every} places ({nodes}).")
    days = answers["certificate_days"]
    if days < WARN_DAYS:
        when = f"end in {days:.0f} days" if days >= 0 else "have ended"
        found.append(
            f"The nodes' certificates {when}; without them no machine talks to another: playbook.yaml."
        )
    return found


def days_left(end: str, now_s: float) -> float:
    """Days until a certificate ends.

    Args:
        end: What `openssl x509 -noout -enddate` prints.
        now_s: The time (seconds since the epoch).
    """
    return (ssl.cert_time_to_seconds(end.strip().partition("=")[2]) - now_s) / DAY_S


def ask(given: dict[str, Any]) -> dict[str, Any]:
    """Everything that the table is made of.

    Raises:
        ApiError: An agent does not answer.
    """
    consul = Api("consul", given["consul_url"], given["consul_token"])
    nomad = Api("nomad", given["nomad_url"], given["nomad_token"], given["ca"])
    return {
        "inventory": given["inventory"],
        "members": consul.get("/v1/agent/members"),
        "consul_raft": consul.get("/v1/operator/raft/configuration"),
        "checks": consul.get("/v1/health/state/any"),
        "nodes": nomad.get("/v1/nodes"),
        "nomad_raft": nomad.get("/v1/operator/raft/configuration"),
        "jobs": nomad.get("/v1/jobs?namespace=*"),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **BOTH_SYSTEMS,
            "certificate": {"type": "str", "required": True},
            "inventory": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    command = ["openssl", "x509", "-noout", "-enddate", "-in", module.params["certificate"]]
    _, end, _ = module.run_command(command, check_rc=True)
    try:
        answers = ask(module.params) | {"certificate_days": days_left(end, time.time())}
    except ApiError as exc:
        module.fail_json(msg=f"{exc}. Look at: journalctl -u consul -u nomad")
    tables = [node_rows(answers), job_rows(answers["jobs"]), service_rows(answers["checks"])]
    lines = [line for table in tables for line in ["", *columns(table)]]
    module.exit_json(changed=False, table=lines, attention=attention(answers))


if __name__ == "__main__":
    main()
