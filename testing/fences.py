"""Fences around the tests: a marker on each module, a time limit, and unit tests cut off from the world.

It owns what every test may not do. What a test needs (fakes, servers, models) is not its concern.
The `conftest.py` of `testing` and of `verification` take these hooks and fixtures over as they are.
"""

from __future__ import annotations

import gc
import random
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from pipecatapp.settings import Settings

KINDS = ("unit", "integration", "e2e")
"""The markers of which each test has exactly one."""

TIMEOUT_S = {"unit": 30, "integration": 300, "e2e": 300}
"""Limit of one test that names none itself (seconds); a unit test's own aim is far lower, 50 ms.

It ends what hangs. On a machine that others use, drawing a plot for the first time has taken 10 s."""

SEED = 20
"""Where every test's random numbers start."""


class ForbiddenInUnitTests(BaseException):
    """A unit test reached for the network. Not an Exception, so that no code under test swallows it."""


def pytest_configure() -> None:
    """Let Ctrl-C end what tests start: a shell has what it runs in the background ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse modules without a kind, and give every test a time limit."""
    unmarked = sorted({_module_of(item) for item in items if len(_kinds_of(item)) != 1})
    if unmarked:
        listing = "\n  ".join(unmarked)
        raise pytest.UsageError(
            f"each test module says what it is, once:\n  {listing}\n"
            f"hint: write `pytestmark = pytest.mark.unit` (or {', '.join(KINDS[1:])}) below the imports"
        )
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S[_kinds_of(item)[0]]))


def _kinds_of(item: pytest.Item) -> Sequence[str]:
    return [kind for kind in KINDS if item.get_closest_marker(kind) is not None]


def _module_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Start Python's and NumPy's random numbers at the same place in every test."""
    random.seed(SEED)
    try:
        import numpy
    except ImportError:
        return
    numpy.random.seed(SEED)


@pytest.fixture(autouse=True, scope="module")
def leftovers_named(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect what an integration module left in cycles: an open socket is told of there, not later."""
    yield
    if request.node.get_closest_marker("integration") is not None:
        gc.collect()


@pytest.fixture(scope="session")
def _empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def unit_fence(request: pytest.FixtureRequest) -> Iterator[None]:
    """Cut unit tests off from the network, from our settings and from the home folder."""
    if request.node.get_closest_marker("unit") is None:
        yield
        return
    home: Path = request.getfixturevalue("_empty_home")
    with pytest.MonkeyPatch.context() as patch:
        _clean_environment(patch, home)
        _block_network(patch)
        yield


def _clean_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name, field in Settings.model_fields.items():
        patch.delenv(field.alias or name, raising=False)
    patch.setenv("HOME", str(home))
    # Matplotlib would make folders there as soon as it is imported.
    patch.setenv("MPLCONFIGDIR", str(home.with_name(f"{home.name}-matplotlib")))


def _block_network(patch: pytest.MonkeyPatch) -> None:
    """Block new connections; asyncio's own socket pairs are made connected and stay possible."""

    def refuse_socket(*arguments: Any, **_options: Any) -> NoReturn:
        raise ForbiddenInUnitTests(f"a unit test may not use the network: {arguments!r}; use a fake")

    for name in ("connect", "connect_ex", "sendto"):
        patch.setattr(socket.socket, name, refuse_socket)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        patch.setattr(socket, name, refuse_socket)

    def refuse_request(_transport: object, sent: httpx.Request) -> NoReturn:
        raise ForbiddenInUnitTests(
            f"a unit test may not send a request: {sent.method} {sent.url}; use a fake"
        )

    patch.setattr(httpx.HTTPTransport, "handle_request", refuse_request)
    patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", refuse_request)
