#!/usr/bin/python
"""Wait until an expert completes a real prompt, and tell where its parts run and what they take.

It owns the question and the table; nothing is changed.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import BOTH_SYSTEMS, POLL_S, Api, ApiError, send

DOCUMENTATION = """
module: expert_report
short_description: Ask an expert a real question and tell where its parts run
description: Waits until it answers; changes nothing.
options:
  job_name: {type: str, required: true, description: The expert's job.}
  rpc_job_name: {type: str, required: true, description: Its workers' job.}
  namespace: {type: str, required: true, description: The namespace of both.}
  service_name: {type: str, required: true, description: Its service in Consul.}
  key: {type: str, required: true, description: The key that callers show.}
  consul_url: {type: str, required: true, description: Where Consul's agent listens.}
  consul_token: {type: str, required: true, description: A token that may see services.}
  nomad_url: {type: str, required: true, description: Where Nomad's agent listens.}
  nomad_token: {type: str, required: true, description: A token that may see allocations.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  timeout_s: {type: int, default: 900, description: How long the answer may take to come.}
"""

QUESTION = "What is water? Answer in one short sentence."
ANSWER_TOKENS = 32
ANSWER_TIMEOUT_S = 120.0
NUMBERS_S = 10.0
"""How long Nomad's numbers of a task are waited for (seconds); it measures about once a second."""
MIB = 1 << 20


def complete(url: str, key: str) -> tuple[str, str]:
    """Return which model completes the question, and with what.

    Raises:
        OSError: It refused or does not answer.
        ValueError: Its answer is no JSON.
        KeyError, IndexError, TypeError: Its answer is not that of a chat.
    """
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": ANSWER_TOKENS}
    headers = {"Authorization": f"Bearer {key}"}
    path = "/v1/chat/completions"
    status, found = send(url + path, "POST", headers, body, timeout_s=ANSWER_TIMEOUT_S)
    if status != 200:
        raise ConnectionError(f"it answers {status}")
    answer = json.loads(found)
    return str(answer.get("model", "")), str(answer["choices"][0]["message"]["content"] or "").strip()


def ask(given: dict[str, Any]) -> tuple[str, str]:
    """Return which model answers, and what it says, as soon as it does.

    Raises:
        TimeoutError: It does not; the message says what stood in the way last.
    """
    deadline_s = time.monotonic() + given["timeout_s"]
    consul = Api("consul", given["consul_url"], given["consul_token"])
    last = "Consul lists none that passes its check"
    while time.monotonic() < deadline_s:
        try:
            for entry in consul.get(f"/v1/health/service/{quote(given['service_name'])}?passing"):
                service = entry["Service"]
                host = service["Address"] or entry["Node"]["Address"]
                model, text = complete(f"http://{host}:{service['Port']}", given["key"])
                if text:
                    return model, text
                last = "it answered with nothing"
        except (ApiError, OSError, ValueError, KeyError, IndexError, TypeError) as exc:
            last = f"{type(exc).__name__}: {exc}"
        time.sleep(POLL_S)
    raise TimeoutError(
        f"{given['service_name']} completed no prompt in {given['timeout_s']} s; last: {last}."
    )


def parts(nomad: Api, job: str, namespace: str) -> list[tuple[str, str, int]]:
    """Return the task, the node and the resident memory (MiB) of each task of a job that runs.

    Nomad has no numbers of a task in its first seconds; they are waited for, and are 0 when they do not come.
    """
    within = f"namespace={quote(namespace)}"
    deadline_s = time.monotonic() + NUMBERS_S
    while True:
        found = []
        for allocation in nomad.find(f"/v1/job/{quote(job, safe='')}/allocations?{within}") or []:
            if allocation["ClientStatus"] != "running":
                continue
            stats = nomad.find(f"/v1/client/allocation/{allocation['ID']}/stats?{within}") or {}
            for task in sorted(allocation["TaskStates"] or {}):
                usage = (stats.get("Tasks") or {}).get(task) or {}
                memory = (usage.get("ResourceUsage") or {}).get("MemoryStats") or {}
                resident = int(memory.get("RSS") or memory.get("Usage") or 0) // MIB
                found.append((task, allocation["NodeName"], resident))
        if all(resident for _, _, resident in found) or time.monotonic() > deadline_s:
            return found
        time.sleep(POLL_S)


def table(rows: list[tuple[str, str, int]], model: str, text: str) -> list[str]:
    """Return the lines that a person reads."""
    lines = [f"{'PART':8} {'NODE':16} {'MEMORY':>10}"]
    lines += [
        f"{task:8} {node:16} {f'{memory} MiB' if memory else 'not told':>10}" for task, node, memory in rows
    ]
    return [*lines, f"Served by {model}. Asked what water is, it said: {text}"]


def main() -> None:
    """Ask, look, tell."""
    words = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            **{name: words for name in ("job_name", "rpc_job_name", "namespace", "service_name")},
            "key": {"type": "str", "required": True, "no_log": True},
            **BOTH_SYSTEMS,
            "timeout_s": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        model, text = ask(given)
        nomad = Api("nomad", given["nomad_url"], given["nomad_token"], given["ca"])
        rows = [
            row
            for job in (given["job_name"], given["rpc_job_name"])
            for row in parts(nomad, job, given["namespace"])
        ]
    except (ApiError, TimeoutError) as exc:
        module.fail_json(msg=str(exc))
        return
    module.exit_json(changed=False, model=model, table=table(rows, model, text))


if __name__ == "__main__":
    main()
