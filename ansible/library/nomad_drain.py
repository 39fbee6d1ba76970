#!/usr/bin/python
"""Have a node of Nomad's give its jobs to other nodes, or take jobs again.

It owns the order and the wait. It runs on a controller, where the management token is; the token goes to
Nomad in a header, not into a command line or an environment.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, ONE_SYSTEM, POLL_S, Api, ApiError, nodes_named

DOCUMENTATION = """
module: nomad_drain
short_description: Have a node give its jobs to others, or take jobs again
description:
  - With C(drained) the node takes no new jobs; the module returns when those that it had have ended there.
  - Without, it is eligible for jobs again.
options:
  url: {type: str, required: true, description: Where an agent listens.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  token: {type: str, required: true, description: A token that may write nodes.}
  node: {type: str, required: true, description: The node's name.}
  drained: {type: bool, required: true, description: Whether it is to be empty.}
  keep_system: {type: bool, default: false, description: Leave what runs on every node where it is.}
  deadline_s: {type: int, default: 120, description: "After that, what still runs is stopped (seconds)."}
"""
GRACE_S = 60.0
"""How long tasks may take to end after the deadline (seconds); their own kill timeouts are shorter."""
ENDED = ("complete", "failed", "lost")
"""What Nomad calls the client status of an allocation that has ended."""
STATES = ("ready", "initializing", "disconnected", "down")
"""What Nomad calls the status of a node, the best first."""


def node_named(api: Api, name: str) -> dict[str, Any] | None:
    """What Nomad knows of the node; the one that is up where an older entry is left."""
    return min(nodes_named(api, name), key=lambda node: STATES.index(node["Status"]), default=None)


def is_as_wanted(node: dict[str, Any], drained: bool) -> bool:
    """Whether nothing is to be ordered: an emptied node is not eligible, whoever asked for it."""
    eligible = node["SchedulingEligibility"] == "eligible"
    return not eligible if drained else eligible and not node["Drain"]


def left_on(allocations: list[dict[str, Any]], keep_system: bool) -> list[str]:
    """The jobs that still have something running on the node, sorted."""
    running = [item for item in allocations if item["ClientStatus"] not in ENDED]
    kept = ("system", "sysbatch") if keep_system else ()
    return sorted({item["JobID"] for item in running if (item.get("Job") or {}).get("Type") not in kept})


def place_system_jobs(api: Api) -> None:
    """Have Nomad look again where what belongs on every node is missing.

    1.11.2 does not by itself on a node that has an ended allocation of such a job (createNodeEvals in
    nomad/node_endpoint.go; mended in 1.11.3).

    Raises:
        ApiError: Nomad does not answer.
    """
    for job in api.get("/v1/jobs?namespace=*"):
        if job["Type"] == "system" and job["Status"] != "dead":
            path = f"/v1/job/{quote(job['ID'], safe='')}/evaluate?namespace={quote(job['Namespace'])}"
            api.call("PUT", path, {"JobID": job["ID"], "Namespace": job["Namespace"]})


def change(api: Api, node: dict[str, Any], drained: bool, keep_system: bool, deadline_s: int) -> None:
    """Order it, and wait until a drained node is empty.

    Raises:
        ApiError: Nomad refuses, or jobs do not end.
    """
    path = f"/v1/node/{node['ID']}"
    spec = {"Deadline": deadline_s * 10**9, "IgnoreSystemJobs": keep_system} if drained else None
    status, answer = api.call("PUT", f"{path}/drain", {"DrainSpec": spec, "MarkEligible": not drained})
    if status != 200:
        raise ApiError(f"Nomad answers {status} to a drain of {node['Name']}: {answer}")
    if not drained:
        place_system_jobs(api)
        return
    end_s = time.monotonic() + deadline_s + GRACE_S
    while True:
        left = left_on(api.get(f"{path}/allocations"), keep_system)
        if not left and not api.get(path)["DrainStrategy"]:
            return
        if time.monotonic() > end_s:
            raise ApiError(
                f"{node['Name']} is not empty after {deadline_s + GRACE_S:.0f} s: {', '.join(left)}"
            )
        time.sleep(POLL_S)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **ONE_SYSTEM,
            **CA_ARGUMENT,
            "node": {"type": "str", "required": True},
            "drained": {"type": "bool", "required": True},
            "keep_system": {"type": "bool", "default": False},
            "deadline_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    api = Api("nomad", given["url"], given["token"], given["ca"])
    try:
        node = node_named(api, given["node"])
        if node is None:
            module.fail_json(msg=f"Nomad has no node {given['node']}. Look there at: journalctl -u nomad")
            return
        changed = not is_as_wanted(node, given["drained"])
        if changed and not module.check_mode:
            change(api, node, given["drained"], given["keep_system"], given["deadline_s"])
        elif not given["drained"] and not module.check_mode:
            # A node that was forgotten and is back takes jobs by itself, but not what ended there.
            place_system_jobs(api)
    except ApiError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
