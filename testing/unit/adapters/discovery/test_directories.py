"""The fake directory and the one inside a process pass the port's suite; the rules for Consul's answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipecatapp.adapters.consul.directory import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    endpoints_of,
    next_index,
    retry_pause_s,
)
from pipecatapp.adapters.discovery.composite import CompositeDirectory
from pipecatapp.adapters.discovery.snapshot import ServiceSnapshot
from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Endpoint, ServiceDirectory
from testing.conformance.directory_suite import AbsenceSuite, DirectorySuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory

pytestmark = pytest.mark.unit


def endpoint(service: str, port: int, tags: tuple[str, ...] = (), passing: bool = True) -> Endpoint:
    return Endpoint(
        service=service,
        id=f"{service}-{port}",
        node="here",
        address="127.0.0.1",
        port=port,
        tags=tags,
        passing=passing,
    )


class FakeWorld:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fake = FakeDirectory(clock=self.clock)
        self.directory: ServiceDirectory = self.fake

    def register(self, service: str, port: int, *, tags: tuple[str, ...] = (), passing: bool = True) -> None:
        self.fake.put(endpoint(service, port, tags, passing))

    def set_passing(self, service: str, port: int, passing: bool) -> None:
        known = next(found for found in self.directory.instances(service) if found.port == port)
        self.fake.put(replace(known, passing=passing))

    def deregister(self, service: str, port: int) -> None:
        self.fake.remove(f"{service}-{port}")

    async def go_away(self) -> None:
        self.fake.go_away()

    async def come_back(self) -> None:
        self.fake.come_back()


class StaticWorld:
    def __init__(self) -> None:
        self.directory = StaticDirectory(FakeClock())

    def register(self, service: str, port: int, *, tags: tuple[str, ...] = (), passing: bool = True) -> None:
        self.directory.add(endpoint(service, port, tags, passing))

    def set_passing(self, service: str, port: int, passing: bool) -> None:
        known = next(found for found in self.directory.instances(service) if found.port == port)
        self.directory.add(replace(known, passing=passing))

    def deregister(self, service: str, port: int) -> None:
        self.directory.remove(service, f"{service}-{port}")


class TestFakeDirectory(DirectorySuite, AbsenceSuite):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()

    async def test_what_is_stale_grows_old(self, world: FakeWorld) -> None:
        await world.go_away()
        world.clock.advance(90)
        assert world.directory.state().age_s == 90


class JoinedWorld(FakeWorld):
    """A directory that changes, joined with an expert that stays."""

    def __init__(self) -> None:
        super().__init__()
        stays = Endpoint(service="llama-api-stays", id="stays", node="n", address="10.0.0.9", port=9)
        self.directory = CompositeDirectory(self.fake, [stays])


class TestJoinedDirectory(DirectorySuite, AbsenceSuite):
    @pytest.fixture
    def world(self) -> JoinedWorld:
        return JoinedWorld()

    async def test_what_is_there_besides_stays_and_is_among_the_others(self, world: JoinedWorld) -> None:
        joined = world.directory
        assert [one.id for one in joined.healthy("llama-api-stays")] == ["stays"]
        assert joined.services("llama-api-") == ("llama-api-stays",) and joined.services("memory") == ()
        world.register("llama-api-stays", 4200, passing=False)
        world.register("llama-api-main", 4201)
        assert joined.services() == ("llama-api-main", "llama-api-stays")
        assert len(joined.instances("llama-api-stays")) == 2
        assert [one.id for one in joined.healthy("llama-api-stays")] == ["stays"]
        await joined.close()
        assert world.fake.is_closed


class TestStaticDirectory(DirectorySuite):
    @pytest.fixture
    def world(self) -> StaticWorld:
        return StaticWorld()

    async def test_what_it_is_told_again_is_no_change(self, world: StaticWorld) -> None:
        world.register("llama-api-main", 1)
        version = world.directory.version
        world.register("llama-api-main", 1)
        world.directory.remove("llama-api-main", "nobody")
        assert world.directory.version == version


def test_stale_knowledge_has_the_age_of_the_last_word_from_its_source() -> None:
    clock = FakeClock()
    snapshot = ServiceSnapshot(clock)
    clock.advance(5)
    snapshot.mark_fresh()
    version = snapshot.version
    clock.advance(7)
    snapshot.mark_stale("first")
    snapshot.mark_stale("then")
    state = snapshot.state()
    assert (state.is_stale, state.age_s, state.reason) == (True, 7, "then")
    assert snapshot.version == version + 1, "those who wait are woken once"
    snapshot.mark_fresh()
    assert (snapshot.state().is_stale, snapshot.version) == (False, version + 2)


@pytest.mark.parametrize(
    ("before", "now", "asked_next"), [(0, 7, 7), (7, 9, 9), (9, 7, 0), (0, 0, 1), (7, 7, 7)]
)
def test_an_index_that_went_backwards_begins_anew(before: int, now: int, asked_next: int) -> None:
    assert next_index(before, now) == asked_next


def test_pauses_grow_up_to_a_bound_and_are_spread() -> None:
    assert retry_pause_s(1, 1.0) == FIRST_RETRY_S
    assert retry_pause_s(1, 0.0) == FIRST_RETRY_S / 2
    assert retry_pause_s(3, 1.0) == 4 * FIRST_RETRY_S
    assert retry_pause_s(10_000, 1.0) == LAST_RETRY_S


def entry(*statuses: str, address: str = "10.0.0.7") -> dict[str, object]:
    return {
        "Node": {"Node": "n1", "Address": "10.0.0.1"},
        "Service": {"ID": "i", "Address": address, "Port": 81, "Tags": None},
        "Checks": [{"Status": status} for status in statuses],
    }


def test_one_failing_check_is_enough_not_to_pass() -> None:
    found = endpoints_of("s", [entry("passing", "warning"), entry("passing", "passing"), entry("critical")])
    assert [instance.passing for instance in found] == [False, True, False]


def test_a_service_without_an_address_is_at_its_nodes() -> None:
    assert endpoints_of("s", [entry(address="")])[0].url == "http://10.0.0.1:81"
    assert endpoints_of("s", [entry(address="fd00::7")])[0].url == "http://[fd00::7]:81"


def test_what_a_service_says_of_itself_is_kept() -> None:
    said = entry("passing")
    said["Service"]["Meta"] = {"description": "Sums."}  # type: ignore[index]
    assert [instance.meta for instance in endpoints_of("s", [said, entry("passing")])] == [
        {"description": "Sums."},
        {},
    ]


@pytest.mark.parametrize("value", [[{}], [1], 5, [{"Node": {}}], {"error": "x"}])
def test_another_shape_is_an_error_of_the_adapter(value: object) -> None:
    with pytest.raises(AdapterError, match="unknown shape"):
        endpoints_of("s", value)
