#!/usr/bin/python
"""Bring one job of Nomad to what its file and values say, and wait until it is well.

It owns parsing, planning, registering, waiting, and the sentence about what went wrong. Values of
variables come as Ansible has them; secrets do not belong here but into Nomad's own variables
(`nomad_variable`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, ONE_SYSTEM, POLL_S, Api, ApiError, takes_jobs

DOCUMENTATION = """
module: nomad_job
short_description: Run a job of Nomad and wait until it is well
description: Changes nothing when Nomad's own plan finds no difference.
options:
  text: {type: str, description: "The job, HCL2."}
  values: {type: dict, default: {}, description: Values of the file's variables.}
  url: {type: str, required: true, description: Where Nomad's agent listens.}
  token: {type: str, required: true, description: A token that may run jobs.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  timeout_s: {type: int, default: 300, description: How long the job may take to be well.}
  purge: {type: bool, default: false, description: Stop the job and forget it instead.}
  job_id: {type: str, default: "", description: With purge, the job's name.}
  namespace: {type: str, default: default, description: With purge, the job's namespace.}
"""

PATIENCE_S = 15.0
"""How long a job that needs no change may take to show that it runs (seconds); a restart takes a few."""
RETRY = "tried_again"
"""Entry of a job's meta: when it was last run anew without a change (seconds since the epoch)."""
ENDED = ("successful", "failed", "cancelled")
"""States of a deployment that do not change any more."""
AWAY = ("unknown", "lost")
"""What Nomad calls the client status of an allocation whose node does not answer."""
EVENTS = 4
"""Events of a task that a failure shows."""
GIVE_UP = 3
"""Allocations of one version that may fail before it is given up; the first may be a node's own fault."""
LOG_BYTES = 1500
"""How much of a failed task's last words is read."""
LOG_LINES = 4
"""Lines of them that a failure shows."""


def variables_text(values: dict[str, Any]) -> str:
    """Return the values as the text of a var-file; JSON is valid HCL where a value stands."""
    return "".join(f"{name} = {_literal(value)}\n" for name, value in sorted(values.items()))


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(str(key))} = {_literal(item)}" for key, item in sorted(value.items()))
        return "{" + inner + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    text = json.dumps(value)
    # In a string, these begin an expression.
    return text.replace("${", "$${").replace("%{", "%%{") if isinstance(value, str) else text


def latest_per_place(allocations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest allocation of each name and node, but none that is to stop or out of reach."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for allocation in sorted(allocations, key=lambda item: item["CreateIndex"]):
        newest[allocation["Name"], allocation["NodeID"]] = allocation
    here = [item for item in newest.values() if item["ClientStatus"] not in AWAY]
    return [item for item in here if item["DesiredStatus"] == "run"]


def is_well(allocation: dict[str, Any], job_type: str, counts_verdict: bool = True) -> bool:
    """Whether an allocation does what it is there for.

    Args:
        allocation: As Nomad lists it.
        job_type: The job's type.
        counts_verdict: A deployment's verdict that it was not healthy counts, however it is now.
    """
    if job_type in ("batch", "sysbatch"):
        return bool(allocation["ClientStatus"] == "complete")
    health = (allocation.get("DeploymentStatus") or {}).get("Healthy")
    return allocation["ClientStatus"] == "running" and (health is not False or not counts_verdict)


def story(allocations: list[dict[str, Any]], last_words: Callable[[str, str], str]) -> str:
    """Return what happened last to the newest allocation that is not well, in words.

    Args:
        allocations: All of a job.
        last_words: The end of a task's log, by allocation and task; "" when there is none.
    """
    for allocation in sorted(allocations, key=lambda item: -item["CreateIndex"]):
        lines = []
        for name, state in (allocation.get("TaskStates") or {}).items():
            events = [event.get("DisplayMessage", "") for event in state.get("Events") or []]
            told = "; ".join(text for text in events[-EVENTS:] if text)
            if state.get("Failed"):
                words = last_words(allocation["ID"], name)
                lines.append(f"task {name} failed: {told}.{words and ' Its last words: ' + words}")
            elif state.get("State") != "running":
                lines.append(f"task {name} is {state.get('State')}: {told}")
        if lines:
            where = allocation.get("NodeName", "a node")
            return f"On {where} (nomad alloc logs {allocation['ID'][:8]} tells more): {' '.join(lines)}"
    return "No allocation says why; nomad job status tells which node was refused."


def blocked_reason(evaluation: dict[str, Any]) -> str:
    """Return why Nomad found no place, in words, or ""."""
    failed = evaluation.get("FailedTGAllocs") or {}
    for group, metric in failed.items():
        reasons = [*(metric.get("ConstraintFiltered") or {}), *(metric.get("DimensionExhausted") or {})]
        told = ", ".join(reasons) or "no node is ready"
        return f"no node has room for '{group}': {told}"
    return ""


class JobRun:
    """One job on its way to what its file says."""

    def __init__(self, nomad: Api, job: dict[str, Any], timeout_s: int) -> None:
        self._nomad = nomad
        self._job = job
        self._id = job["ID"]
        self._namespace = job.get("Namespace") or "default"
        self._deadline_s = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        there = nomad.find(self._path())
        tried_again = ((there or {}).get("Meta") or {}).get(RETRY)
        if tried_again:
            job["Meta"] = {**(job.get("Meta") or {}), RETRY: tried_again}

    def differs(self) -> bool:
        """Whether running it would change anything."""
        plan = self._nomad.request("PUT", self._path("/plan"), {"Job": self._job, "Diff": True})
        return bool(plan["Diff"]["Type"] != "None")

    def run(self) -> str:
        """Register it; return the evaluation that places it."""
        answer = self._nomad.request(
            "PUT", f"/v1/jobs?namespace={quote(self._namespace)}", {"Job": self._job}
        )
        return str(answer.get("EvalID", ""))

    def keep(self) -> bool:
        """See that a job that is as it should be runs, and run it anew when it does not.

        An earlier deployment's verdict does not matter here: what runs now does. Nomad places nothing more of
        a version whose deployment has failed, so that another try needs another version.

        Returns:
            Whether it had to be run anew.

        Raises:
            ApiError: It does not become well in time.
        """
        version = self._nomad.request("GET", self._path())["Version"]
        patience_s = min(self._deadline_s, time.monotonic() + PATIENCE_S)
        while time.monotonic() < patience_s:
            if self._allocations_well(version, counts_verdict=False):
                return False
            time.sleep(POLL_S)
        self._job["Meta"] = {**(self._job.get("Meta") or {}), RETRY: str(int(time.time()))}
        self.wait(self.run())
        return True

    def wait(self, evaluation_id: str) -> None:
        """Wait until the version that is registered now is well.

        Raises:
            ApiError: It failed, found no place, or took too long.
        """
        version = self._nomad.request("GET", self._path())["Version"]
        is_service = self._job["Type"] == "service"
        look = self._deployment_ended if is_service else self._allocations_well
        self._until_well(evaluation_id, lambda: look(version))

    def _until_well(self, evaluation_id: str, is_done: Callable[[], bool]) -> None:
        reason = ""
        while time.monotonic() < self._deadline_s:
            if evaluation_id:
                evaluation = self._nomad.request("GET", self._in_namespace(f"/v1/evaluation/{evaluation_id}"))
                reason = blocked_reason(evaluation) or reason
            if is_done():
                return
            time.sleep(POLL_S)
        told = reason or self._story(self._allocations())
        raise ApiError(f"The job '{self._id}' is not well after {self._timeout_s} s. {told}")

    def _allocations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._nomad.request("GET", self._path("/allocations"))
        return found

    def _story(self, allocations: list[dict[str, Any]]) -> str:
        return story(allocations, self._last_words)

    def _last_words(self, allocation_id: str, task: str) -> str:
        where = f"&task={task}&type=stderr&plain=true&origin=end&offset={LOG_BYTES}"
        try:
            path = self._in_namespace(f"/v1/client/fs/logs/{allocation_id}")
            lines = self._nomad.text(path + where).splitlines()
        except ApiError:
            return ""
        return " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip())

    def _deployment_ended(self, version: int) -> bool:
        deployments = self._nomad.request("GET", self._path("/deployments")) or []
        ours = [item for item in deployments if item["JobVersion"] == version]
        if not ours:
            # A change that needs no new allocation has no deployment.
            return self._allocations_well(version)
        newest = max(ours, key=lambda item: item["CreateIndex"])
        if newest["Status"] == "successful":
            return True
        ended = newest["StatusDescription"] if newest["Status"] in ENDED else ""
        ours = [item for item in self._allocations() if item["JobVersion"] == version]
        failed = sum(item["ClientStatus"] == "failed" for item in ours)
        if ended or failed >= GIVE_UP:
            why = ended or f"{failed} tries have failed"
            raise ApiError(f"The job '{self._id}' did not become well: {why}. {self._story(ours)}")
        return False

    def _allocations_well(self, version: int, *, counts_verdict: bool = True) -> bool:
        job_type = self._job["Type"]
        live = [item for item in latest_per_place(self._allocations()) if item["JobVersion"] == version]
        failed = [item for item in live if item["ClientStatus"] == "failed"]
        if failed and job_type in ("batch", "sysbatch"):
            raise ApiError(f"The job '{self._id}' failed. {self._story(failed)}")
        if job_type == "system":
            return len(live) >= self._ready_nodes() and all(
                is_well(item, job_type, counts_verdict) for item in live
            )
        wanted = sum(group.get("Count", 1) for group in self._job["TaskGroups"])
        return len(live) >= wanted and all(is_well(item, job_type, counts_verdict) for item in live)

    def _path(self, part: str = "") -> str:
        return _path(self._id, self._namespace, part)

    def _in_namespace(self, path: str) -> str:
        return f"{path}?namespace={quote(self._namespace)}"

    def _ready_nodes(self) -> int:
        return sum(map(takes_jobs, self._nomad.request("GET", "/v1/nodes")))


def main() -> None:
    """Bring the job about, or purge it."""
    module = AnsibleModule(
        argument_spec={
            "text": {"type": "str"},
            "values": {"type": "dict", "default": {}},
            **ONE_SYSTEM,
            **CA_ARGUMENT,
            "timeout_s": {"type": "int", "default": 300},
            "purge": {"type": "bool", "default": False},
            "job_id": {"type": "str", "default": ""},
            "namespace": {"type": "str", "default": "default"},
        },
        required_if=[("purge", True, ("job_id",)), ("purge", False, ("text",))],
        supports_check_mode=True,
    )
    given = module.params
    try:
        nomad = Api("nomad", given["url"], given["token"], given["ca"])
        if given["purge"]:
            _purge(module, nomad)
        else:
            _run(module, nomad)
    except ApiError as exc:
        module.fail_json(msg=str(exc))


def _run(module: AnsibleModule, nomad: Api) -> None:
    given = module.params
    order = {"JobHCL": given["text"], "Variables": variables_text(given["values"]), "Canonicalize": True}
    job = nomad.request("POST", "/v1/jobs/parse", order)
    run = JobRun(nomad, job, given["timeout_s"])
    changed = run.differs()
    if not module.check_mode:
        if changed:
            run.wait(run.run())
        else:
            changed = run.keep()
    module.exit_json(changed=changed, job_id=job["ID"])


def purge(nomad: Api, job_id: str, timeout_s: int, namespace: str = "default") -> bool:
    """Stop a job, wait until its tasks have ended, and forget it; False when there was none.

    Forgotten at once, Nomad takes the tasks' tokens away while their services are still being taken out of
    Consul, and Consul may list what is gone.

    Raises:
        ApiError: Its tasks do not end.
    """
    path = _path(job_id, namespace)
    if nomad.find(path) is None:
        return False
    nomad.request("DELETE", path)
    deadline_s = time.monotonic() + timeout_s
    allocations = _path(job_id, namespace, "/allocations")
    while any(a["ClientStatus"] in ("running", "pending") for a in nomad.request("GET", allocations)):
        if time.monotonic() > deadline_s:
            raise ApiError(f"The tasks of '{job_id}' have not ended after {timeout_s} s.")
        time.sleep(POLL_S)
    nomad.request("DELETE", f"{path}&purge=true")
    return True


def _path(job_id: str, namespace: str, part: str = "") -> str:
    return f"/v1/job/{quote(job_id, safe='')}{part}?namespace={quote(namespace)}"


def _purge(module: AnsibleModule, nomad: Api) -> None:
    given = module.params
    job_id, namespace = given["job_id"], given["namespace"]
    if module.check_mode:
        changed = nomad.find(_path(job_id, namespace)) is not None
    else:
        changed = purge(nomad, job_id, given["timeout_s"], namespace)
    module.exit_json(changed=changed, job_id=job_id)


if __name__ == "__main__":
    main()
