"""`twin plan` and `twin node profile`: what they print, refuse and run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from pipecatapp.adapters.host.benchmark import link_mbit_s
from pipecatapp.adapters.llm.llama_bench import run_bench
from pipecatapp.adapters.nomad import client as nomad_client
from pipecatapp.cli import main
from pipecatapp.cli import plan as plan_command
from pipecatapp.errors import AdapterError
from pipecatapp.ops import planner
from pipecatapp.planning.profile import measured_threads, read_profile
from testing.plans import PROFILES, ROOT

pytestmark = pytest.mark.unit


@pytest.fixture
def house(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    for name in ("core2-e8400", "i5-4590"):
        text = (PROFILES / f"{name}.json").read_text(encoding="utf-8")
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would deploy, instead of their effect."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 2 if "coding-expert" in command[-1] else 0)

    monkeypatch.setattr(planner.subprocess, "run", run)
    monkeypatch.setattr(planner.shutil, "which", lambda name: f"/bin/{name}")
    return commands


def test_a_plan_is_told_in_words_with_its_commands(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--profiles", str(house)]) == 0
    said = capsys.readouterr().out
    assert "main: qwen3-" in said
    assert "creative, science, cybersecurity: no list of models" in said
    assert 'ansible-playbook playbooks/deploy_expert.yaml -e \'{"job_name": "llama-expert"' in said


def test_a_plan_for_programs_has_the_same_commands(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--profiles", str(house), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [node["node"] for node in plan["nodes"]] == ["core2-e8400", "i5-4590"]
    command = plan["commands"][0]
    assert command[:3] == ["ansible-playbook", "playbooks/deploy_expert.yaml", "-e"]
    values = json.loads(command[3])
    assert values["service_name"] == "llama-api-main"
    assert values["expert_server_nodes"] == ["i5-4590"]
    assert values["model_list"].startswith("{{ main_models | ")


def nomad_with(monkeypatch: pytest.MonkeyPatch, *nodes: tuple[str, str, dict[str, Any]]) -> None:
    """Have Nomad know these nodes: a name, the recorded profile it published, or "", and its state."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        if path == "/nodes":
            fine = {"Address": "10.0.0.1", "Status": "ready", "Drain": False, "Version": "1"}
            fine["SchedulingEligibility"] = "eligible"
            listed = [fine | state | {"ID": str(n), "Name": name} for n, (name, _, state) in enumerate(nodes)]
            return httpx.Response(200, json=listed)
        name, recorded, _ = nodes[int(path.removeprefix("/node/"))]
        if not recorded:
            return httpx.Response(200, json={"Meta": {}})
        profile = json.loads((PROFILES / f"{recorded}.json").read_text(encoding="utf-8"))
        return httpx.Response(200, json={"Meta": {"twin_profile": json.dumps(profile | {"node": name})}})

    def connect(**_: Any) -> httpx.AsyncClient:
        return real(transport=httpx.MockTransport(answer))

    real = httpx.AsyncClient
    monkeypatch.setattr(nomad_client.httpx, "AsyncClient", connect)


OFF: dict[str, Any] = {"Status": "down"}


def test_nodes_that_are_off_or_take_no_work_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nomad_with(
        monkeypatch,
        ("anew", "i5-4590", OFF),
        ("anew", "i5-4590", {}),
        ("drained", "i5-11400-a", {"Drain": True, "SchedulingEligibility": "ineligible"}),
        ("ineligible", "i5-11400-b", {"SchedulingEligibility": "ineligible"}),
        ("off", "i5-11400-c", OFF),
        ("silent", "", {}),
    )
    assert main(["plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [node["node"] for node in plan["nodes"]] == ["anew"]
    assert [left["node"] for left in plan["left_out"]] == ["drained", "ineligible", "off", "silent"]
    assert main(["plan"]) == 0
    said = capsys.readouterr().out
    assert "Left out:\n  drained takes no work: it is drained, or was made ineligible.\n" in said
    assert "  off is down.\n  silent has published no profile; there: twin node profile --publish.\n" in said


def test_a_house_of_which_nobody_takes_work_is_not_planned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nomad_with(monkeypatch, ("off", "i5-4590", OFF), ("silent", "", {}))
    assert main(["plan"]) == 1
    assert "(off is down; silent has published no profile" in capsys.readouterr().err


def test_without_the_hub_only_embedded_models_are_proposed(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--profiles", str(house), "--json", "--embedded"]) == 0
    plan = json.loads(capsys.readouterr().out)
    models = {each["runs"]["model"] for each in plan["experts"] if each["runs"]}
    assert models <= {"qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "smollm2-135m"}


def test_the_models_of_a_command_begin_with_the_one_that_is_proposed(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = yaml.safe_load((ROOT / "group_vars" / "models.yaml").read_text(encoding="utf-8"))
    for extra in ([], ["--embedded"]):
        assert main(["plan", "--profiles", str(house), "--json", *extra]) == 0
        plan = json.loads(capsys.readouterr().out)
        deployed = [each for each in plan["experts"] if each["runs"]]
        for each, command in zip(deployed, plan["commands"], strict=True):
            expression = json.loads(command[3])["model_list"]
            models = NativeEnvironment().from_string(expression).render(**lists)
            assert models[0]["name"] == each["runs"]["model"]
            assert not extra or all(model["profile"] == "embedded" for model in models)


def test_applying_asks_and_deploys_nothing_without_a_yes(
    house: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return "no\n"

    monkeypatch.setattr(plan_command.sys, "stdin", Terminal())
    assert main(["plan", "--profiles", str(house), "--apply"]) == 1
    assert ran == []
    assert "Nothing was deployed" in capsys.readouterr().err


def test_applying_without_a_terminal_wants_to_be_told_yes(
    house: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan_command.sys.stdin, "isatty", lambda: False, raising=False)
    assert main(["plan", "--profiles", str(house), "--apply"]) == 1
    assert ran == []
    assert "--apply --yes" in capsys.readouterr().err


def test_applying_runs_what_was_printed_and_stops_at_what_fails(
    house: Path, ran: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--profiles", str(house), "--json", "--apply", "--yes"]) == 1
    said = capsys.readouterr()
    commands = json.loads(said.out)["commands"]
    assert len(commands) > 1
    assert ran == commands[: len(ran)]
    assert "coding-expert" in ran[-1][-1]
    assert "exit code 2" in said.err


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", "{", "is no profile of a node"),
        ("a.json", '{"schema_version": 2}', "schema_version: Input should be 1"),
        ("a.txt", "", "holds no profile"),
    ],
)
def test_what_is_no_profile_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, sentence: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["plan", "--profiles", str(tmp_path)]) == 1
    assert sentence in capsys.readouterr().err


def test_two_profiles_of_one_node_are_refused(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (house / "again.json").write_text((house / "i5-4590.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["plan", "--profiles", str(house)]) == 1
    assert "'i5-4590' has two profiles" in capsys.readouterr().err


def test_measuring_without_the_small_model_names_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "llama-bench"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    for name in ("TWIN_DATA_DIR", "TWIN_CACHE_DIR", "TWIN_MODELS_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["node", "profile"]) == 1
    assert "twin models fetch smollm2-135m" in capsys.readouterr().err
    program.unlink()
    assert main(["node", "profile"]) == 1
    assert "twin artifacts fetch llama.cpp" in capsys.readouterr().err


def test_a_kept_profile_is_shown_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWIN_DATA_DIR", str(tmp_path))
    text = (PROFILES / "athlon-x2-5000.json").read_text(encoding="utf-8")
    (tmp_path / "node_profile.json").write_text(text, encoding="utf-8")
    assert main(["node", "profile"]) == 0
    said = capsys.readouterr().out
    assert "athlon-x2-5000, measured 2026-01-15T12:00:00Z" in said
    assert "measure anew with --force" in said
    assert main(["node", "profile", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(text)


def test_every_thread_count_that_matters_is_measured_once() -> None:
    assert [measured_threads(cores) for cores in (1, 2, 4)] == [(1,), (1, 2), (1, 3, 4)]


def test_the_speeds_of_the_nearest_fewer_threads_count() -> None:
    profile = read_profile(PROFILES / "i5-4590.json")
    assert [profile.at(threads).threads for threads in (1, 2, 3, 8)] == [1, 1, 3, 4]


@pytest.mark.parametrize(("told", "speed"), [("1000\n", 1000), ("-1\n", None), (None, None)])
def test_a_card_that_does_not_tell_its_speed_is_unknown(
    tmp_path: Path, told: str | None, speed: int | None
) -> None:
    (tmp_path / "net").mkdir()
    lines = "Iface\tDestination\tGateway\nlan0\t00000000\t0101A8C0\n"
    (tmp_path / "net/route").write_text(lines, encoding="ascii")
    card = tmp_path / "class/net/lan0"
    card.mkdir(parents=True)
    if told is not None:
        (card / "speed").write_text(told, encoding="ascii")
    assert link_mbit_s(tmp_path, tmp_path) == speed


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo out of memory >&2; exit 3", "exit status 3: out of memory"),
        ("kill -ILL $$", "SIGILL, an instruction that this CPU"),
        ("echo hello", "said something unknown: hello"),
    ],
)
def test_a_bench_that_fails_says_how(tmp_path: Path, script: str, sentence: str) -> None:
    program = tmp_path / "llama-bench"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(AdapterError, match=sentence):
        run_bench(program, tmp_path / "model.gguf", [1])
