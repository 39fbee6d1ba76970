#!/usr/bin/python
"""Take a machine out of Consul and Nomad: its vote, its membership, its entry as a node.

It owns the order: leadership goes to another server first, the vote goes while the machine still answers (two
servers of which one is gone cannot agree on anything), the agents stop at once, and the servers that are left
see to it that no leader gives the vote back. Stopped agents start again when their unit is started.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import BOTH_SYSTEMS, POLL_S, Api, ApiError, nodes_named

DOCUMENTATION = """
module: cluster_leave
short_description: Take a machine out of Consul and Nomad
description:
  - C(vote) runs on the machine itself - it gives up its vote and stops its agents.
  - C(forget) runs on another controller - what is left of a stopped machine is removed there.
options:
  action: {type: str, required: true, choices: [vote, forget], description: What to do.}
  node: {type: str, required: true, description: The machine's name.}
  consul_url: {type: str, required: true, description: Where Consul's agent listens.}
  consul_token: {type: str, required: true, description: A token that may do everything.}
  nomad_url: {type: str, required: true, description: Where Nomad's agent listens.}
  nomad_token: {type: str, required: true, description: A token that may do everything.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  timeout_s: {type: int, default: 60, description: "Longest wait for another leader, in seconds."}
"""
RAFT = "/v1/operator/raft"
STEADY_S = 3.0
"""How long a machine must be out (seconds): what one server knows, the others hear in less."""
GONE = ("leaving", "left", "reap")
"""States of a member that no leader gives a vote to."""


def server_of(raft: dict[str, Any], node: str) -> dict[str, Any] | None:
    """The machine's entry among the servers; Nomad's names end in their region."""
    return next((server for server in raft["Servers"] if server["Node"].split(".")[0] == node), None)


def hand_over(api: Api, node: str, timeout_s: float) -> None:
    """Have another server lead when this one does.

    Raises:
        ApiError: No other leads in time.
    """
    deadline_s = time.monotonic() + timeout_s
    why: Any = "there is no other server"
    while time.monotonic() < deadline_s:
        raft = api.get(f"{RAFT}/configuration")
        server = server_of(raft, node)
        if server is None or not server["Leader"]:
            return
        for other in raft["Servers"]:
            if other["Voter"] and not other["Leader"]:
                status, why = transfer(api, other["ID"])
                if status == 200:
                    break
        time.sleep(POLL_S)
    raise ApiError(
        f"{api.system.capitalize()}'s leader stays {node}; another server should lead first. It says: {why}"
    )


def transfer(api: Api, server_id: str) -> tuple[int, Any]:
    """Have another server lead; return the status and the answer. The two systems name it differently."""
    path = {"consul": "transfer-leader", "nomad": "transfer-leadership"}[api.system]
    return api.call("POST", f"{RAFT}/{path}?id={quote(server_id)}")


def drop_vote(api: Api, node: str) -> bool:
    """Remove the machine from raft; return whether it was there.

    Raises:
        ApiError: The servers do not agree to it.
    """
    server = server_of(api.get(f"{RAFT}/configuration"), node)
    if server is None:
        return False
    status, answer = api.call("DELETE", f"{RAFT}/peer?id={quote(server['ID'])}")
    if status != 200:
        raise ApiError(f"{api.system.capitalize()} keeps the vote of {node}: {answer}")
    return True


def expel(nomad: Api, node: str, timeout_s: float) -> bool:
    """Have Nomad's servers count a stopped one out; return whether anything was done.

    The leader looks at its members every minute and at each change, and gives a vote to whoever seems alive
    (reconcileMember, nomad/leader.go). A machine that has just stopped seems so for seconds; ten seconds on,
    its vote counts, and two servers of which one is gone cannot agree on anything.

    Raises:
        ApiError: The servers do not agree to it in time.
    """
    name, changed, out_since_s = f"{node}.global", False, None
    deadline_s = time.monotonic() + timeout_s
    while True:
        members = nomad.get("/v1/agent/members")["Members"]
        is_out = all(member["Status"] in GONE for member in members if member["Name"] == name)
        if not is_out:
            nomad.call("PUT", f"/v1/agent/force-leave?node={quote(name)}")
        is_out = not drop_vote(nomad, node) and is_out
        changed = changed or not is_out
        now_s = time.monotonic()
        out_since_s = (out_since_s or now_s) if is_out else None
        if out_since_s is not None and now_s - out_since_s >= STEADY_S:
            return changed
        if now_s > deadline_s:
            raise ApiError(f"Nomad's servers still count {node} in after {timeout_s:.0f} s")
        time.sleep(POLL_S / 4)


def others_of(nomad: Api, node: str) -> list[Api]:
    """Where the other servers are asked, the leader first.

    Raises:
        ApiError: Nomad does not answer.
    """
    found = nomad.get(f"{RAFT}/configuration")["Servers"]
    others = [server for server in found if server["Node"].split(".")[0] != node]
    others.sort(key=lambda server: not server["Leader"])
    scheme, _, here = nomad.url.partition("://")
    port = here.rpartition(":")[2]
    hosts = [server["Address"].rpartition(":")[0] for server in others]
    return [nomad.at(f"{scheme}://{host}:{port}") for host in hosts]


def expel_by_any(others: list[Api], node: str, timeout_s: float) -> bool:
    """Have the first server that answers see to it; return whether anything was done.

    Raises:
        ApiError: None can; with what the last one said.
    """
    why: ApiError | None = None
    for other in others:
        try:
            return expel(other, node, timeout_s)
        except ApiError as exc:
            why = exc
    if why is not None:
        raise why
    return False


def give_up_vote(module: AnsibleModule, consul: Api, nomad: Api, node: str, timeout_s: float) -> bool:
    """Give up both votes and stop the agents; what one system refuses does not keep the other's vote.

    Raises:
        ApiError: With the first refusal, after both were asked.
    """
    changed = False
    refusals = []
    for api in (nomad, consul):
        try:
            others = others_of(api, node) if api is nomad else []
            hand_over(api, node, timeout_s)
            changed = drop_vote(api, node) or changed
            if api is consul:
                api.call("PUT", "/v1/agent/leave")
            module.run_command(["systemctl", "stop", f"{api.system}.service"], check_rc=True)
            expel_by_any(others, node, timeout_s)
        except ApiError as exc:
            refusals.append(exc)
    if refusals:
        raise refusals[0]
    return changed


def forget(consul: Api, nomad: Api, node: str) -> bool:
    """Remove what is left of a stopped machine; return whether there was anything."""
    changed = drop_vote(nomad, node)
    changed = drop_vote(consul, node) or changed
    members = [
        member for member in nomad.get("/v1/agent/members")["Members"] if member["Name"] == f"{node}.global"
    ]
    for member in members:
        if member["Status"] != "left":
            nomad.call("PUT", f"/v1/agent/force-leave?node={quote(member['Name'])}&prune=true")
            changed = True
    if members:
        # Given back, perhaps, in between.
        drop_vote(nomad, node)
    for entry in nodes_named(nomad, node):
        nomad.call("PUT", f"/v1/node/{entry['ID']}/purge")
        changed = True
    if any(member["Name"] == node for member in consul.get("/v1/agent/members")):
        consul.call("PUT", f"/v1/agent/force-leave/{quote(node)}?prune")
        changed = True
    if any(entry["Node"] == node for entry in consul.get("/v1/catalog/nodes")):
        consul.call("PUT", "/v1/catalog/deregister", {"Node": node})
        changed = True
    return changed


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["vote", "forget"]},
            "node": {"type": "str", "required": True},
            **BOTH_SYSTEMS,
            "timeout_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    given = module.params
    consul = Api("consul", given["consul_url"], given["consul_token"])
    nomad = Api("nomad", given["nomad_url"], given["nomad_token"], given["ca"])
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        if given["action"] == "vote":
            changed = give_up_vote(module, consul, nomad, given["node"], given["timeout_s"])
        else:
            changed = forget(consul, nomad, given["node"])
    except ApiError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
