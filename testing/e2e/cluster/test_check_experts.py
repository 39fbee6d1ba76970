"""`twin check-experts` as the job runs it: real Consul, a real llama-server, and every way to be ill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipecatapp.adapters.llm.server_process import LlmServerProcess, xllamacpp_command
from testing.cluster_agents import ConsulAgent, free_ports
from testing.cluster_fixtures import consul_agent
from testing.e2e.engine_models import SMOLLM, model
from testing.e2e.service import Service
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.openai_server import KEY, OpenAiServer, serving

pytestmark = pytest.mark.e2e

__all__ = ["consul_agent"]

ROOT = Path(__file__).resolve().parents[3]


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


class House:
    """A Consul, an agent's page, and experts that are what a test wants."""

    def __init__(self, consul: ConsulAgent, agent_url: str, stack: ExitStack) -> None:
        self.consul = consul
        self.agent_url = agent_url
        self._stack = stack
        self._registered: list[str] = []

    def expert(self, name: str, server: OpenAiServer, *, status: str = "passing") -> OpenAiServer:
        """Serve an expert and register it."""
        self._stack.enter_context(serving(server))
        self.register(name, port_of(server.url), status)
        return server

    def register(self, name: str, port: int, status: str = "passing") -> None:
        service_id = self.consul.register(f"llama-api-{name}", port, status=status)
        self._stack.callback(self.consul.deregister, service_id)

    def check(self, *arguments: str, key: str = KEY, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "TWIN_CONSUL_URL": self.consul.url,
            "CONSUL_HTTP_TOKEN": self.consul.make_token(),
            "LLM_API_KEY": key,
            **environment,
        }
        command = [sys.executable, "-m", "pipecatapp", "check-experts", "--url", self.agent_url, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=240, check=False
        )


@pytest.fixture(scope="module")
def agent_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of an agent made of stand-ins behind the real web layer."""
    command = (sys.executable, "-m", "testing.bench.standin_agent")
    service = Service(tmp_path_factory.mktemp("standin"), command=command).start()
    yield service.base_url
    service.stop()


@pytest.fixture
def house(consul_agent: ConsulAgent, agent_url: str) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(consul_agent, agent_url, stack)


def saying(text: str) -> OpenAiServer:
    return OpenAiServer(llm=FakeLlm((text,)))


def test_experts_that_answer_are_well(house: House) -> None:
    main = house.expert("main", saying("Water is a liquid."))
    coding = house.expert("coding", saying("Water is wet."))
    done = house.check()
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" (")[0] for line in lines] == ["ok   main", "ok   coding", "ok   agent"]
    assert "answered 18 characters" in lines[0]
    for server in (main, coding):
        assert [path for path, _ in server.requests] == ["/v1/chat/completions"]
        assert server.requests[0][1]["messages"][0]["content"].startswith("What is water?")


def test_verdicts_can_be_read_by_a_program(house: House) -> None:
    house.expert("main", saying("Water is a liquid."))
    told = json.loads(house.check("--json").stdout)
    assert told["ok"] is True
    assert [(check["name"], check["is_well"]) for check in told["checks"]] == [
        ("main", True),
        ("agent", True),
    ]


def test_main_may_be_the_agents_own(house: House) -> None:
    done = house.check()
    assert done.returncode == 0
    assert "ok   main: no llama-api-main: the agent's own model is the expert main" in done.stdout


@pytest.mark.parametrize("by", ["argument", "setting"])
def test_an_expert_that_must_be_there_and_is_not_fails(house: House, by: str) -> None:
    house.expert("main", saying("Water is a liquid."))
    done = house.check("main", "math") if by == "argument" else house.check(TWIN_EXPERTS="main, math")
    assert done.returncode == 1
    assert "BAD  math: missing: Consul knows no llama-api-math" in done.stdout
    assert "ok   main" in done.stdout


def test_an_expert_that_was_deployed_and_is_gone_fails_beside_those_that_are_there(house: House) -> None:
    house.expert("coding", saying("Water is wet."))
    done = house.check("--deployed", "llama-api-creative", "--deployed", "coding")
    assert done.returncode == 1
    assert "BAD  creative: missing: Consul knows no llama-api-creative" in done.stdout
    assert done.stdout.count("ok   coding") == 1
    assert "ok   main" in done.stdout


def test_an_expert_elsewhere_is_asked_with_its_own_key(house: House, tmp_path: Path) -> None:
    house.expert("main", saying("Water is a liquid."))
    elsewhere = OpenAiServer(llm=FakeLlm(("Water is life.",)))
    with serving(elsewhere):
        entry = {"base_url": elsewhere.url, "model": "large", "key": "theirs"}
        listed = {"external_experts": {"oracle": entry}}
        (tmp_path / "external_experts.yaml").write_text(json.dumps(listed), encoding="utf-8")
        settings = {"TWIN_CATALOGUE_DIR": str(tmp_path), "TWIN_EXTERNAL_KEYS": json.dumps({"theirs": KEY})}
        done = house.check(**settings)
        wrong = house.check(**settings | {"TWIN_EXTERNAL_KEYS": json.dumps({"theirs": "another"})})
    assert done.returncode == 0
    assert f"ok   oracle ({elsewhere.url})" in done.stdout
    assert elsewhere.requests[0][1]["model"] == "large"
    assert wrong.returncode == 1
    assert "BAD  oracle" in wrong.stdout
    assert "another" not in wrong.stdout + wrong.stderr


def test_a_main_that_must_be_in_consul_is_not_the_agents_own(house: House) -> None:
    done = house.check("main")
    assert done.returncode == 1
    assert "BAD  main: missing" in done.stdout


def test_an_expert_that_fails_its_checks_everywhere_fails(house: House) -> None:
    house.expert("main", saying("Water is a liquid."), status="critical")
    done = house.check()
    assert done.returncode == 1
    assert "registered on consul-test, but passes its checks nowhere" in done.stdout


def test_one_instance_of_two_that_is_ill_fails(house: House) -> None:
    house.expert("main", saying("Water is a liquid."))
    house.register("main", free_ports(1)[0])
    done = house.check()
    assert done.returncode == 1
    assert sorted(line[:9] for line in done.stdout.splitlines()) == ["BAD  main", "ok   agen", "ok   main"]
    assert "cannot be reached" in done.stdout


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("hang", "4 s"),
        ("refuse", "refused (400)"),
        ("busy", "refused (503)"),
        ("cut", "broke the connection"),
        ("nonsense", "not JSON"),
        ("shape", "another shape"),
    ],
)
def test_a_server_that_does_not_complete_a_prompt_fails(house: House, failure: str, words: str) -> None:
    server = house.expert("main", OpenAiServer(llm=FakeLlm(), failure=failure))
    done = house.check("--timeout", "4")
    server.released.set()
    assert done.returncode == 1
    assert words in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1].startswith("ok   agent")


@pytest.mark.parametrize("text", ["", " \n", "...!"])
def test_an_answer_without_a_word_fails(house: House, text: str) -> None:
    house.expert("main", saying(text))
    done = house.check()
    assert done.returncode == 1
    assert "answered without a word" in done.stdout


def test_a_wrong_key_fails_and_is_not_shown(house: House) -> None:
    house.expert("main", saying("Water is a liquid."))
    done = house.check(key="not-the-key")
    assert done.returncode == 1
    assert "refused (401)" in done.stdout
    assert "not-the-key" not in done.stdout + done.stderr


def test_an_rpc_provider_is_not_asked(house: House) -> None:
    lender = OpenAiServer(llm=FakeLlm())
    with serving(lender):
        service_id = house.consul.register("rpc-provider", port_of(lender.url), tags=("pool=main",))
        done = house.check()
        house.consul.deregister(service_id)
    assert done.returncode == 0
    assert lender.requests == []


def test_no_agent_behind_the_ingress_fails(house: House) -> None:
    house.expert("main", saying("Water is a liquid."))
    done = house.check("--url", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 1
    assert "ok   main" in done.stdout
    assert "BAD  agent" in done.stdout and "cannot be reached" in done.stdout


def test_something_else_behind_the_ingress_fails(house: House) -> None:
    house.expert("main", saying("Water is a liquid."))
    done = house.check("--url", house.consul.url)
    assert done.returncode == 1
    assert "BAD  agent" in done.stdout and "what is not Twin's" in done.stdout


def test_without_consul_it_says_where_to_look(house: House) -> None:
    done = house.check(TWIN_CONSUL_URL="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "TWIN_CONSUL_URL is not set" in done.stderr
    done = house.check(TWIN_CONSUL_URL=f"http://127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 1
    assert "Nobody can be checked: There is no Consul at" in done.stderr


def test_a_refused_token_is_said(house: House) -> None:
    done = house.check(CONSUL_HTTP_TOKEN="00000000-0000-0000-0000-000000000009")
    assert done.returncode == 1
    assert "refused the token" in done.stderr


class TestRealServer:
    @pytest.fixture
    async def server(self) -> AsyncIterator[LlmServerProcess]:
        process = LlmServerProcess(xllamacpp_command(model(SMOLLM), threads=1, context=512, slots=1))
        await process.start()
        yield process
        await process.close()

    async def test_a_real_model_completes_the_prompt(self, house: House, server: LlmServerProcess) -> None:
        house.register("main", port_of(server.base_url))
        done = house.check("--timeout", "120", key=server.api_key)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ok   main (consul-test 127.0.0.1:" in done.stdout
