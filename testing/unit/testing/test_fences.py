from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import httpx
import pytest

from pipecatapp.app.configuration import load_settings
from pipecatapp.settings import Settings
from testing.fences import SEED, ForbiddenInUnitTests

pytestmark = pytest.mark.unit


def test_connecting_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ForbiddenInUnitTests, match="use a fake"):
        sock.connect(("127.0.0.1", 9))


def test_looking_up_a_name_is_refused() -> None:
    with pytest.raises(ForbiddenInUnitTests):
        socket.getaddrinfo("localhost", 80)


async def test_requests_are_refused_and_mock_transports_are_not() -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(ForbiddenInUnitTests, match="GET http://model.lan/v1"):
            await client.get("http://model.lan/v1")
    answered = httpx.MockTransport(lambda _request: httpx.Response(200, text="pong"))
    async with httpx.AsyncClient(transport=answered) as client:
        assert (await client.get("http://model.lan/v1")).text == "pong"


def test_no_setting_of_the_machine_is_seen() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    assert not aliases & set(os.environ)
    assert load_settings().port == 8000


def test_home_is_an_empty_folder() -> None:
    assert list(Path.home().iterdir()) == []


def test_random_numbers_start_at_the_seed() -> None:
    assert random.random() == random.Random(SEED).random()
