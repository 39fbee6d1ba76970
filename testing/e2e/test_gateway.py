"""OpenAI's own package against a running agent with real models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from pydantic import BaseModel

from testing.e2e.service import ROOT, Service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TIMEOUT_S = 300.0


def client_of(service: Service, key: str = "none") -> openai.OpenAI:
    """Return OpenAI's client of the agent; nothing about it is special."""
    return openai.OpenAI(base_url=f"{service.base_url}/v1", api_key=key, timeout=TIMEOUT_S, max_retries=0)


@pytest.fixture(scope="module")
def house(own_service: Service) -> Iterator[openai.OpenAI]:
    with client_of(own_service) as client:
        yield client


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def function(name: str, description: str, **parameters: Any) -> Any:
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER = function("get_weather", "Tells the weather in a city.", city={"type": "string"})
TIMER = function("set_timer", "Sets a timer.", minutes={"type": "integer"})


def test_the_experts_are_listed(house: openai.OpenAI) -> None:
    assert [model.id for model in house.models.list()] == ["main"]
    assert house.models.retrieve("main").owned_by == "twin"


def test_a_chat_is_answered_and_counted(house: openai.OpenAI) -> None:
    answer = house.chat.completions.create(
        model="main", messages=user("What is the capital of France?"), max_tokens=20, temperature=0
    )
    assert "Paris" in str(answer.choices[0].message.content)
    assert answer.usage and answer.usage.completion_tokens > 0
    assert "/" not in answer.model, "a folder of this machine is nobody's business"


def test_a_chat_is_streamed(house: openai.OpenAI) -> None:
    with house.chat.completions.create(
        model="default",
        messages=user("Count from one to five."),
        max_tokens=30,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert len([text for text in texts if text]) > 3
    assert chunks[-1].usage and chunks[-1].usage.total_tokens > 0


def test_a_text_is_completed(house: openai.OpenAI) -> None:
    answer = house.completions.create(model="main", prompt="One, two, three,", max_tokens=5, temperature=0)
    assert "four" in answer.choices[0].text.lower()


class City(BaseModel):
    name: str
    country: str
    inhabitants: int


def test_an_answer_keeps_to_a_schema(house: openai.OpenAI) -> None:
    answer = house.chat.completions.parse(
        model="main",
        messages=user("Tell me about Rome."),
        response_format=City,
        max_tokens=100,
        temperature=0,
    )
    city = answer.choices[0].message.parsed
    assert city and city.name == "Rome" and city.inhabitants >= 0


def test_a_tool_is_called_and_its_result_told(house: openai.OpenAI) -> None:
    messages = user("What is the weather in Paris?")
    first = house.chat.completions.create(
        model="main", messages=messages, tools=[WEATHER, TIMER], max_tokens=60, temperature=0
    ).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.tool_calls
    (call,) = first.message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages += [
        first.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "17 degrees and rain"},
    ]
    second = house.chat.completions.create(
        model="main", messages=messages, tools=[WEATHER, TIMER], max_tokens=60, temperature=0
    ).choices[0]
    assert second.message.tool_calls is None and "17" in str(second.message.content)


def test_a_tool_that_must_be_called_is_called(house: openai.OpenAI) -> None:
    choice: Any = {"type": "function", "function": {"name": "set_timer"}}
    answer = house.chat.completions.create(
        model="main",
        messages=user("Set a timer for five minutes."),
        tools=[WEATHER, TIMER],
        tool_choice=choice,
        max_tokens=60,
        temperature=0,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function" and json.loads(call.function.arguments) == {"minutes": 5}


def test_a_tool_call_is_streamed(house: openai.OpenAI) -> None:
    with house.chat.completions.stream(
        model="main",
        messages=user("What is the weather in Paris?"),
        tools=[WEATHER, TIMER],
        tool_choice="required",
        max_tokens=60,
        temperature=0,
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.delta" in kinds
    (call,) = final.message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert final.finish_reason == "tool_calls"


def test_meaning_is_near_meaning(house: openai.OpenAI) -> None:
    texts = ["My dog is called Biscuit.", "What is the name of my pet?", "The train leaves at noon."]
    found = house.embeddings.create(model="default", input=texts)
    told, asked, other = (np.array(item.embedding) for item in found.data)
    assert told @ asked > told @ other
    plain = house.embeddings.create(model="default", input=texts[0], encoding_format="float")
    assert np.allclose(plain.data[0].embedding, told, atol=1e-5)


RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"


def test_a_recording_is_written_down(house: openai.OpenAI) -> None:
    with (RECORDINGS / "know-sky.flac").open("rb") as file:
        transcript = house.audio.transcriptions.create(model="whisper-1", file=file)
    assert "sky" in transcript.text.lower()


def test_what_is_spoken_is_understood(house: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "said.mp3"
    text = "The train to Berlin leaves at noon. Please bring an umbrella."
    with house.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=text
    ) as spoken:
        spoken.stream_to_file(path)
    with path.open("rb") as file:
        heard = house.audio.transcriptions.create(model="default", file=file, response_format="verbose_json")
    # Piper's voice is never twice the same, and the tiny recogniser mishears a word now and then.
    wanted = {"train", "berlin", "leaves", "noon", "please", "bring", "umbrella"}
    assert len(wanted & set(re.findall(r"[a-z]+", heard.text.lower()))) >= len(wanted) - 2, heard.text
    assert 2 < float(heard.duration) < 8 and heard.segments


def test_a_form_that_nobody_makes_is_refused(house: openai.OpenAI) -> None:
    form: Any = "midi"
    with pytest.raises(openai.BadRequestError, match="mp3, opus, aac, flac, wav, pcm"):
        house.audio.speech.create(model="tts-1", voice="alloy", input="Hi.", response_format=form)
    with pytest.raises(openai.BadRequestError, match="no sound file"):
        house.audio.transcriptions.create(model="whisper-1", file=("x.wav", b"not a sound"))


@pytest.mark.parametrize("text", ["\U0001f389\U0001f389", "...", "----", "```\nx = 1\n```"])
def test_what_has_no_words_is_refused(house: openai.OpenAI, text: str) -> None:
    with pytest.raises(openai.BadRequestError, match="no words") as refused:
        house.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format="wav")
    assert refused.value.param == "input"


def test_errors_are_openais_own(house: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="valid: default, main") as unknown:
        house.chat.completions.create(model="nobody", messages=user("hi"))
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError):
        house.chat.completions.create(model="main", messages=[])
    with pytest.raises(openai.BadRequestError):
        house.chat.completions.create(model="main", messages=user("word " * 20_000))


def test_what_the_model_cannot_take_is_told_in_its_servers_words(house: openai.OpenAI) -> None:
    picture: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 80}"}}
    with pytest.raises(openai.BadRequestError, match="image input is not supported"):
        house.chat.completions.create(model="main", messages=[{"role": "user", "content": [picture]}])
    both = {"grammar": 'root ::= "a"', "json_schema": {"type": "object"}}
    with pytest.raises(openai.BadRequestError, match="both json_schema and grammar"):
        house.chat.completions.create(model="main", messages=user("hi"), stream=True, extra_body=both)


def twin(service: Service, *words: str) -> str:
    """Run a command beside the agent and return what it printed."""
    environment = {**os.environ, "TWIN_DATA_DIR": str(service.folder / "data")}
    command = [sys.executable, "-m", "pipecatapp", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_is_made_used_limited_and_revoked(own_service: Service) -> None:
    secret, told = twin(own_service, "api-keys", "create", "editor", "--requests", "2").strip().split("\n")
    key_id = told.split()[1].rstrip(",")
    with client_of(own_service, secret) as client:
        client.models.list()
        client.models.list()
        with pytest.raises(openai.RateLimitError, match="2 requests a minute"):
            client.models.list()
        listed = twin(own_service, "api-keys", "list")
        assert "editor" in listed and secret not in listed
        twin(own_service, "api-keys", "revoke", key_id)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert secret not in own_service.log_path.read_text()
    assert secret not in (own_service.folder / "data" / "gateway-keys.json").read_text()
