"""Server-sent events, from bytes that are cut anywhere."""

from __future__ import annotations

import pytest

from pipecatapp.sse import SseEvent, SseReader

pytestmark = pytest.mark.unit

STREAM = 'event: delta\r\ndata: {"text": "grün"}\n\n: still here\ndata:plain\n\ndata: [DONE]\n\n'.encode()
EVENTS = [SseEvent('{"text": "grün"}', "delta"), SseEvent("plain"), SseEvent("[DONE]")]


@pytest.mark.parametrize("size", [1, 2, 7, len(STREAM)])
def test_pieces_may_be_cut_anywhere(size: int) -> None:
    reader = SseReader()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [event for piece in pieces for event in reader.feed(piece)] == EVENTS


def test_an_event_is_there_as_soon_as_its_line_ends() -> None:
    reader = SseReader()
    assert reader.feed(b"data: fir") == []
    assert reader.feed(b"st\n") == [SseEvent("first")]


def test_an_empty_line_ends_a_name() -> None:
    assert SseReader().feed(b"event: done\n\ndata: x\n") == [SseEvent("x")]


def test_llama_cpps_error_line_is_an_event_of_that_name() -> None:
    assert SseReader().feed(b'error: {"code": 500}\n') == [SseEvent('{"code": 500}', "error")]


def test_only_a_nameless_event_ends_a_stream() -> None:
    assert [event.is_done for event in (*EVENTS, SseEvent("[DONE]", "delta"))] == [False, False, True, False]


def test_a_stream_that_breaks_off_leaves_its_last_line() -> None:
    reader = SseReader()
    assert reader.feed(b'data: {"te') == []
    assert reader.end() == [SseEvent('{"te')]
    assert reader.end() == []
