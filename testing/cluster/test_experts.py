"""An expert is deployed as the readme says, split over two workers; then its parts are lost, one by one.

The tests go on from one another, in order, on the house that `test_house` has brought up, and leave no part.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipecatapp.agent.fallback_replies import FALLBACK_REPLIES
from testing.cluster.house import ROOT, WITH_TOKEN, House, say, wait_for
from testing.hosts.cluster import Node, Played

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

DEPLOY = (
    "job_name=creative-expert service_name=llama-api-creative namespace=creative"
    " model_list={{ creative_writing_models }} worker_count=2"
)
"""As the readme has it."""
WITHIN = "?namespace=creative"
SETTLE_TIMEOUT_S = 240.0
KEY_TIMEOUT_S = 30.0
HALF_THE_LAYERS_MB = 40
SERVER_MB = 250
"""What the server is given: less than the whole model takes, and enough for its part."""
STORY = "Write me a short poem about a lighthouse"
SUM = "What is 12 percent of 80?"
MODELS = "/opt/twin/models"
KEY = "/var/lib/twin-cluster/expert_key"
ASK = (
    "curl -sS --fail-with-body --max-time 120 -H \"Authorization: Bearer $(cat {key})\" -d '{body}'"
    " -H 'Content-Type: application/json' http://{address}:{port}/completion"
)


NO_MODEL = "/usr/share/common-licenses/GPL-3"
"""A file that every Debian machine has."""


@pytest.fixture(scope="module")
def lists(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of models, as a person writes them into group_vars/models.yaml."""
    main = yaml.safe_load((ROOT / "group_vars/models.yaml").read_text(encoding="utf-8"))["main_models"]
    small = next(model for model in main if model["name"] == "smollm2-135m")
    digest, size = (
        house.nodes[0].run("sh", "-c", f"sha256sum {NO_MODEL}; stat -Lc %s {NO_MODEL}").stdout.split()[::2]
    )
    text = {
        "name": "text",
        "filename": "text.gguf",
        "sha256": digest,
        "size_bytes": int(size),
        "memory_mb": 100,
    }
    text |= {"licence": "GPL-3.0", "parameters": "0B", "context_length": 1, "profile": "embedded"}
    path = tmp_path_factory.mktemp("lists") / "models.yaml"
    found = {
        "creative_writing_models": [small],
        "nameless_models": [{"name": "nameless", "filename": "nameless.gguf", "memory_mb": 100}],
        "text_models": [text | {"sources": [{"kind": "local", "path": NO_MODEL}]}],
    }
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return path


Deploy = Callable[..., Played]


@pytest.fixture
def deploy(house: House, lists: Path) -> Deploy:
    """Runs the playbook as a person types it."""

    def run(wish: str, *, must_pass: bool = True, log: str = "deploy", memory_mb: int = SERVER_MB) -> Played:
        command = ("-e", wish, "-e", f"@{lists}", "-e", f"expert_memory_mb={memory_mb}")
        return house.play("playbooks/deploy_expert.yaml", *command, must_pass=must_pass, log=log)

    return run


def running(house: House, job: str) -> list[dict[str, Any]]:
    found = house.nomad(f"/v1/job/{job}/allocations{WITHIN}")
    return [a for a in found if a["ClientStatus"] == "running" and a["DesiredStatus"] == "run"]


def where(house: House, service: str) -> list[dict[str, Any]]:
    """Node, address and port of each instance that passes its checks."""
    found = house.consul(f"/v1/health/service/{service}?passing")
    return [
        {
            "node": item["Node"]["Node"],
            "address": item["Service"]["Address"] or item["Node"]["Address"],
            "port": item["Service"]["Port"],
        }
        for item in found
    ]


def complete(house: House, tokens: int) -> str:
    """What the expert says to the same words, always the same."""
    [there] = where(house, "llama-api-creative")
    body = {"prompt": "The sea is", "n_predict": tokens, "temperature": 0, "cache_prompt": False}
    command = ASK.format(key=KEY, body=json.dumps(body), address=there["address"], port=there["port"])
    answer = json.loads(house.nodes[0].run("bash", "-c", command, timeout_s=150).stdout)
    return str(answer["content"])


def pids(node: Node, name: str) -> list[str]:
    return node.run("bash", "-c", f"pgrep -x {name[:15]} || true").stdout.split()


def answered(
    house: House, node: Node, text: str, on_first_word: Callable[[], object] | None = None
) -> tuple[str, str, float]:
    """The answer to a text, who gave it, and when its first word came (seconds).

    Raises:
        AssertionError: It was no answer, or nobody said whose it is.
    """
    events = house.turn(node, text, timeout_s=120, on_first_word=on_first_word)
    words = [event for event in events if event["kind"] == "assistant_delta"]
    said = "".join(event["text"] for event in words)
    assert said.strip()
    assert not [apology for apology in FALLBACK_REPLIES if apology in said], said
    by = [event["by"] for event in events if event["kind"] == "answered_by"]
    assert by and by[-1], events
    return said, by[-1], words[0]["after_s"]


def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_left(house: House, deploy: Deploy) -> None:
    for wrong, sentence in (
        ("namespace=creative", "namespace=not/legal"),
        ("worker_count=2", "worker_count=7"),
        ("model_list={{ creative_writing_models }}", "model_list={{ nameless_models }}"),
    ):
        played = deploy(DEPLOY.replace(wrong, sentence), must_pass=False, log="deploy-wrong")
        assert played.status != 0
        assert played.changes == []
        assert "Nothing was done." in played.output
    text = deploy(
        DEPLOY.replace("creative_writing_models", "text_models"), must_pass=False, log="deploy-text"
    )
    assert text.status != 0
    assert "text.gguf is no GGUF file" in text.output
    assert house.consul("/v1/catalog/services").keys().isdisjoint({"llama-api-creative", "rpc-provider"})
    assert "creative" not in {item["Name"] for item in house.nomad("/v1/namespaces")}


def test_the_readmes_command_deploys_an_expert_over_two_workers(house: House, deploy: Deploy) -> None:
    deploy(DEPLOY.replace("worker_count=2", "worker_count=0"), log="deploy-whole", memory_mb=900)
    alone = complete(house, 24)

    played = deploy(DEPLOY)
    assert "Served by smollm2-135m" in played.output
    assert "creative" in {item["Name"] for item in house.nomad("/v1/namespaces")}
    nodes = {a["NodeName"] for a in running(house, "llamacpp-rpc-creative")}
    assert len(nodes) == 2
    assert complete(house, 24) == alone
    held = []
    for name in nodes:
        [pid] = pids(house.node_named(name), "ggml-rpc-server")
        status = house.node_named(name).run("cat", f"/proc/{pid}/status").stdout
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        held.append(int(found[1]) // 1024)
    say(f"  the workers hold {held} MiB")
    assert all(mb > HALF_THE_LAYERS_MB for mb in held)


def test_again_it_changes_nothing(deploy: Deploy) -> None:
    assert deploy(DEPLOY, log="deploy-again").changes == []


def test_a_worker_answers_only_its_expert(house: House) -> None:
    for there in where(house, "rpc-provider"):
        probe = ["openssl", "s_client", "-quiet", "-connect", f"{there['address']}:{there['port']}"]
        # From beside the house the firewall lets nobody in; from its nodes, nobody without the certificate.
        outside = subprocess.run(
            house.cluster.outside("timeout", "5", *probe), input=b"x", capture_output=True, check=False
        )
        assert outside.returncode != 0
        other = next(node for node in house.nodes if node.name != there["node"])
        script = f"(sleep 1) | timeout 10 {' '.join(probe)} 2>&1 || true"
        assert "certificate required" in other.run("bash", "-c", script).stdout
        listens = house.node_named(there["node"]).run("ss", "-Hltnp").stdout
        inner = [line.split()[3] for line in listens.splitlines() if "ggml-rpc-serve" in line]
        assert inner
        assert all(address.startswith("127.0.0.1:") for address in inner)


def test_what_it_is_good_at_goes_to_it_and_a_sum_does_not(house: House) -> None:
    wait_for("the expert", lambda: "creative" in answered(house, house.nodes[1], STORY)[1], SETTLE_TIMEOUT_S)
    # A sum is no model's to answer.
    assert "9.6" in house.chat(house.nodes[1], SUM)["text"]


def test_other_programs_ask_it_by_name_when_they_have_a_key(house: House) -> None:
    made = house.nodes[0].run("twin", "api-keys", "create", "editor").stdout
    [key] = re.findall(r"^twin-[\w-]{40,}$", made, re.MULTILINE)
    body = json.dumps(
        {"model": "creative", "messages": [{"role": "user", "content": STORY}], "max_tokens": 16}
    )
    url = f"http://{house.nodes[2].address}:8000/v1/chat/completions"
    ask = ["curl", "-sS", "--max-time", "120", url, "-H", "Content-Type: application/json", "-d", body]
    stranger = json.loads(subprocess.run(house.cluster.outside(*ask), capture_output=True, check=True).stdout)
    assert stranger["error"]["code"] == "invalid_api_key"
    ask += ["-H", f"Authorization: Bearer {key}"]

    def asked() -> dict[str, Any]:
        said = subprocess.run(house.cluster.outside(*ask), capture_output=True, check=True).stdout
        found: dict[str, Any] = json.loads(said)
        assert "choices" in found, found
        return found

    # A worker hears of a new key from Consul.
    answer = wait_for("an answer to who has a key", asked, KEY_TIMEOUT_S)
    assert answer["choices"][0]["message"]["content"]
    assert answer["model"] == "smollm2-135m"


def test_a_worker_is_lost_in_mid_answer_and_the_question_is_answered(house: House) -> None:
    workers = where(house, "rpc-provider")
    lost = house.node_named(workers[0]["node"])
    [pid] = pids(lost, "ggml-rpc-server")
    _, by, first_s = answered(house, house.nodes[0], STORY, lambda: lost.run("kill", "-9", pid))
    say(f"  a worker killed in mid-answer: answered by {by}, first word after {first_s} s")
    wait_for("two workers", lambda: len(where(house, "rpc-provider")) == 2, SETTLE_TIMEOUT_S)
    wait_for("the expert", lambda: "creative" in answered(house, house.nodes[0], STORY)[1], SETTLE_TIMEOUT_S)


def test_a_workers_cable_is_pulled_in_mid_answer_and_the_expert_goes_on(house: House) -> None:
    [there] = where(house, "llama-api-creative")
    lost = next(
        house.node_named(worker["node"])
        for worker in where(house, "rpc-provider")
        if worker["node"] not in (there["node"], house.nodes[0].name)
    )
    # Nothing tells anybody that it is gone. The agent who is asked may be on it, with the conversation.
    with contextlib.suppress(AssertionError):
        answered(house, house.nodes[0], STORY, lost.cut)
    began_s = time.monotonic()
    wait_for("the expert", lambda: "creative" in answered(house, house.nodes[0], STORY)[1], SETTLE_TIMEOUT_S)
    say(f"  a worker's cable pulled: the expert answers again after {time.monotonic() - began_s:.0f} s")
    lost.plug()
    wait_for("two workers", lambda: len(where(house, "rpc-provider")) == 2, SETTLE_TIMEOUT_S)
    wait_for("the node", lambda: lost.name in house.ready(), SETTLE_TIMEOUT_S)
    wait_for("the expert", lambda: "creative" in answered(house, house.nodes[0], STORY)[1], SETTLE_TIMEOUT_S)


def test_the_expert_is_lost_and_the_question_is_answered(house: House) -> None:
    [there] = where(house, "llama-api-creative")
    node = house.node_named(there["node"])
    [pid] = pids(node, "llama-server")
    node.run("kill", "-9", pid)
    _, by, first_s = answered(house, house.nodes[0], STORY)
    say(f"  the expert killed: answered by {by}, first word after {first_s} s")
    wait_for("the expert", lambda: "creative" in answered(house, house.nodes[0], STORY)[1], SETTLE_TIMEOUT_S)


@contextlib.contextmanager
def models_of_its_own(node: Node) -> Iterator[None]:
    """What is changed in a node's folder of models, which all of them share here, is changed for it alone."""
    folder = "/run/models-of-its-own"
    layers = f"lowerdir={MODELS},upperdir={folder}/upper,workdir={folder}/work"
    make = f"mkdir -p {folder}/upper {folder}/work && mount -t overlay models -o {layers} {MODELS}"
    node.run("bash", "-c", make)
    try:
        yield
    finally:
        node.run("bash", "-c", f"umount -l {MODELS} && rm -rf {folder}")


SPOIL = {
    "deleted": "rm {file}",
    "one byte of it flipped": (
        'python3 -c \'file = open("{file}", "r+b"); file.seek(50_000_000); byte = file.read(1)[0];'
        " file.seek(50_000_000); file.write(bytes([byte ^ 1]))'"
    ),
}


WHAT_IS_WRONG = {"deleted": "is not on this node", "one byte of it flipped": "the sha256 of"}


def expert_log(node: Node) -> str:
    """What the expert's server has said on a node, in this allocation and those before."""
    return node.run("bash", "-c", "cat /var/lib/nomad/alloc/*/alloc/logs/server.std*").stdout


@pytest.mark.parametrize("how", SPOIL)
def test_its_models_file_is_spoilt_and_the_question_is_answered(house: House, lists: Path, how: str) -> None:
    [model] = yaml.safe_load(lists.read_text(encoding="utf-8"))["creative_writing_models"]
    [there] = where(house, "llama-api-creative")
    node = house.node_named(there["node"])
    with models_of_its_own(node):
        node.run("bash", "-c", SPOIL[how].format(file=f"{MODELS}/{model['filename']}"))
        [pid] = pids(node, "llama-server")
        node.run("kill", "-9", pid)
        _, by, first_s = answered(house, house.nodes[0], STORY)
        assert "creative" not in by
        say(f"  its model's file {how}: answered by {by}, first word after {first_s} s")
        wait_for("what is wrong", lambda: WHAT_IS_WRONG[how] in expert_log(node), SETTLE_TIMEOUT_S)
    wait_for("the expert", lambda: "creative" in answered(house, house.nodes[0], STORY)[1], SETTLE_TIMEOUT_S)


def test_without_consul_it_is_still_asked(house: House) -> None:
    node = house.nodes[0]
    node.run("systemctl", "stop", "consul")
    try:
        time.sleep(3)
        _, by, first_s = answered(house, house.nodes[1], STORY)
        say(f"  Consul stopped: answered by {by}, first word after {first_s} s")
    finally:
        node.run("systemctl", "start", "consul")
    wait_for("Consul", lambda: where(house, "llama-api-creative"), SETTLE_TIMEOUT_S)


def test_stopped_by_somebody_it_is_missed_and_comes_back_by_the_same_command(
    house: House, deploy: Deploy
) -> None:
    well = house.play("playbooks/run_health_check.yaml", log="health-check")
    assert "ok   creative" in well.output
    house.nodes[0].run(
        "bash", "-c", f"{WITH_TOKEN}; nomad job stop -detach -namespace creative creative-expert"
    )
    wait_for("its end", lambda: not where(house, "llama-api-creative"), SETTLE_TIMEOUT_S)

    ill = house.play("playbooks/run_health_check.yaml", log="health-check-ill", must_pass=False)
    assert ill.status != 0
    assert "BAD  creative: missing" in ill.output

    assert "Served by smollm2-135m" in deploy(DEPLOY, log="deploy-back").output


def test_removed_it_leaves_nothing_and_the_question_is_answered(house: House, deploy: Deploy) -> None:
    removed = deploy(f"{DEPLOY} state=absent", log="deploy-absent")
    assert removed.changed > 0
    _, by, first_s = answered(house, house.nodes[2], STORY)
    assert "creative" not in by
    say(f"  no expert: answered by {by}, first word after {first_s} s")
    assert house.consul("/v1/catalog/services").keys().isdisjoint({"llama-api-creative", "rpc-provider"})
    assert "creative" not in {item["Name"] for item in house.nomad("/v1/namespaces")}
    for node in house.nodes:
        assert not pids(node, "ggml-rpc-server")
    assert deploy(f"{DEPLOY} state=absent", log="deploy-absent-again").changes == []
