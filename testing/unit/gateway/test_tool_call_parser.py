"""An answer bound to a call or to words is read however it is cut into pieces."""

from __future__ import annotations

import json
import random

import pytest

from pipecatapp.gateway.tool_call_parser import ToolCallStreamParser

pytestmark = pytest.mark.unit

CALL = '{"tool": "set_timer", "arguments": {"minutes": 5, "why": "tea } \\" {", "of": [1, {"a": []}]}}'
WORDS = '{ "tool" : "reply",\n "arguments": {"text": "Say \\"hi\\" \\u00e9 \\ud83d\\ude00\\n and } go"}}'


def read(parts: list[str], *, reply_is_text: bool = True) -> tuple[str, str, str, bool]:
    """Return the tool, the arguments, the words, and whether it is a call."""
    reader = ToolCallStreamParser("reply", reply_is_text=reply_is_text)
    pieces = [piece for part in parts for piece in reader.feed(part)] + reader.end()
    texts = ("".join(p.text for p in pieces if p.kind == kind) for kind in ("tool", "arguments", "words"))
    tool, arguments, words = texts
    return tool, arguments, words, reader.is_call


def cuts(text: str) -> list[list[str]]:
    """Return `text` whole, by characters, and cut at random."""
    found = [[text], list(text)]
    for _ in range(50):
        places = sorted(random.sample(range(1, len(text)), 5))
        found.append([text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)])
    return found


def test_a_call_gives_its_name_and_its_arguments() -> None:
    for parts in cuts(CALL):
        tool, arguments, words, is_call = read(parts)
        assert (tool, words, is_call) == ("set_timer", "", True)
        assert json.loads(arguments) == json.loads(CALL)["arguments"]


def test_words_are_unescaped() -> None:
    for parts in cuts(WORDS):
        tool, arguments, words, is_call = read(parts)
        assert (tool, arguments, is_call) == ("", "", False)
        assert words == 'Say "hi" \u00e9 \U0001f600\n and } go'


def test_words_of_a_callers_schema_stay_json() -> None:
    text = '{"tool": "reply", "arguments": {"text": {"name": "Ann", "tags": ["a}"]}}}'
    for parts in cuts(text):
        assert json.loads(read(parts, reply_is_text=False)[2]) == {"name": "Ann", "tags": ["a}"]}


def test_a_number_as_words_ends_where_it_ends() -> None:
    assert read(list('{"tool": "reply", "arguments": {"text": 42}}'), reply_is_text=False)[2] == "42"


def test_arguments_come_while_they_are_written() -> None:
    reader = ToolCallStreamParser("reply", reply_is_text=True)
    assert [piece.text for piece in reader.feed('{"tool": "say", "arguments": {"text": "on')] == [
        "say",
        '{"text": "on',
    ]
    assert [piece.text for piece in reader.feed("ce")] == ["ce"]


def test_an_answer_that_was_cut_keeps_what_there_is() -> None:
    assert read(['{"tool": "reply", "arguments": {"text": "half a sen'])[2] == "half a sen"


@pytest.mark.parametrize("text", ["Plain words.", '{"other": 1}', '{"tool": '])
def test_text_of_another_form_is_words(text: str) -> None:
    assert read(list(text)) == ("", "", text, False)


def test_half_a_pair_of_surrogates_is_no_reason_to_stop() -> None:
    words = read(list('{"tool": "reply", "arguments": {"text": "a \\ud83d then more words"}}'))[2]
    assert words.startswith("a ") and words.endswith("then more words")
