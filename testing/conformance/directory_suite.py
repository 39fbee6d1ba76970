"""What every `ServiceDirectory` does.

It owns the claims; who makes the directory is the test module's business: subclass `DirectorySuite` and give
a fixture `world`, and `AbsenceSuite` too when the directory's source can go away. The directory follows the
prefix `llama-api-` and the service `memory-service`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Protocol

import pytest

from pipecatapp.ports import Endpoint, ServiceDirectory

PREFIX = "llama-api-"
SERVICES = ("memory-service",)
SETTLE_S = 60
"""Time in which a change reaches the directory on a machine that does much else (seconds)."""


class World(Protocol):
    """A directory and the hand that changes what it is to see."""

    @property
    def directory(self) -> ServiceDirectory: ...

    def register(self, service: str, port: int, *, tags: tuple[str, ...] = (), passing: bool = True) -> None:
        """Add the instance of `service` on `port`, on 127.0.0.1."""
        ...

    def set_passing(self, service: str, port: int, passing: bool) -> None: ...

    def deregister(self, service: str, port: int) -> None: ...


class LosableWorld(World, Protocol):
    """A world whose source can go away."""

    async def go_away(self) -> None: ...

    async def come_back(self) -> None: ...


async def until(directory: ServiceDirectory, is_true: Callable[[], bool]) -> None:
    """Wait for the directory's own word that it changed until `is_true()`."""
    async with asyncio.timeout(SETTLE_S):
        version = directory.version
        while not is_true():
            version = await directory.wait_for_change(version)


def ports(endpoints: tuple[Endpoint, ...]) -> list[int]:
    return sorted(endpoint.port for endpoint in endpoints)


class DirectorySuite:
    async def test_is_a_directory_with_a_name(self, world: World) -> None:
        assert isinstance(world.directory, ServiceDirectory)
        assert world.directory.name

    async def test_answers_without_io(self, world: World) -> None:
        directory = world.directory
        for ask in (directory.healthy, directory.instances, directory.services, directory.state):
            assert not inspect.iscoroutinefunction(ask)

    async def test_a_service_that_is_not_there_has_no_endpoint(self, world: World) -> None:
        directory = world.directory
        assert directory.healthy("llama-api-nowhere") == directory.instances("llama-api-nowhere") == ()
        assert "llama-api-nowhere" not in directory.services(PREFIX)

    async def test_a_new_service_appears_with_all_that_is_known_of_it(self, world: World) -> None:
        directory = world.directory
        world.register("llama-api-new", 4100, tags=("pool=new", "x"))
        await until(directory, lambda: bool(directory.healthy("llama-api-new")))
        endpoint = directory.healthy("llama-api-new")[0]
        assert (endpoint.service, endpoint.address, endpoint.port) == ("llama-api-new", "127.0.0.1", 4100)
        assert (set(endpoint.tags), endpoint.passing) == ({"pool=new", "x"}, True)
        assert endpoint.node and endpoint.id
        assert endpoint.url == "http://127.0.0.1:4100"

    async def test_only_passing_instances_are_current(self, world: World) -> None:
        directory = world.directory
        world.register("llama-api-half", 4110)
        world.register("llama-api-half", 4111, passing=False)
        await until(directory, lambda: len(directory.instances("llama-api-half")) == 2)
        assert ports(directory.healthy("llama-api-half")) == [4110]
        assert ports(directory.instances("llama-api-half")) == [4110, 4111]
        world.set_passing("llama-api-half", 4111, True)
        await until(directory, lambda: ports(directory.healthy("llama-api-half")) == [4110, 4111])
        world.set_passing("llama-api-half", 4110, False)
        await until(directory, lambda: ports(directory.healthy("llama-api-half")) == [4111])

    async def test_instances_have_different_ids_and_a_steady_order(self, world: World) -> None:
        directory = world.directory
        for port in (4122, 4120, 4121):
            world.register("llama-api-many", port)
        await until(directory, lambda: len(directory.healthy("llama-api-many")) == 3)
        ids = [endpoint.id for endpoint in directory.healthy("llama-api-many")]
        assert len(set(ids)) == 3
        assert ids == sorted(ids)

    async def test_a_service_that_only_fails_is_named_but_not_current(self, world: World) -> None:
        directory = world.directory
        world.register("llama-api-ill", 4130, passing=False)
        await until(directory, lambda: "llama-api-ill" in directory.services(PREFIX))
        assert directory.healthy("llama-api-ill") == ()

    async def test_a_service_that_is_taken_away_is_forgotten(self, world: World) -> None:
        directory = world.directory
        world.register("llama-api-gone", 4140)
        await until(directory, lambda: "llama-api-gone" in directory.services(PREFIX))
        world.deregister("llama-api-gone", 4140)
        await until(directory, lambda: "llama-api-gone" not in directory.services(PREFIX))
        assert directory.instances("llama-api-gone") == ()

    async def test_a_service_that_moves_is_followed(self, world: World) -> None:
        directory = world.directory
        world.register("llama-api-moving", 4150)
        await until(directory, lambda: ports(directory.healthy("llama-api-moving")) == [4150])
        world.deregister("llama-api-moving", 4150)
        await until(directory, lambda: not directory.instances("llama-api-moving"))
        world.register("llama-api-moving", 4151)
        await until(directory, lambda: ports(directory.healthy("llama-api-moving")) == [4151])

    async def test_names_are_those_of_the_prefix(self, world: World) -> None:
        directory = world.directory
        world.register("memory-service", 4160)
        world.register("llama-api-named", 4161)
        await until(
            directory,
            lambda: "llama-api-named" in directory.services() and "memory-service" in directory.services(),
        )
        assert "memory-service" not in directory.services(PREFIX)
        assert ports(directory.healthy("memory-service")) == [4160]
        assert list(directory.services()) == sorted(directory.services())

    async def test_all_who_wait_hear_of_a_change(self, world: World) -> None:
        directory = world.directory
        version = directory.version
        waiting = [asyncio.create_task(directory.wait_for_change(version)) for _ in range(3)]
        await asyncio.sleep(0)
        world.register("llama-api-heard", 4170)
        async with asyncio.timeout(SETTLE_S):
            heard = await asyncio.gather(*waiting)
        assert min(heard) > version

    async def test_an_old_version_is_answered_at_once(self, world: World) -> None:
        directory = world.directory
        world.register("llama-api-old", 4180)
        await until(directory, lambda: "llama-api-old" in directory.services())
        async with asyncio.timeout(SETTLE_S):
            assert await directory.wait_for_change(-1) == directory.version

    async def test_a_cancelled_wait_harms_nobody(self, world: World) -> None:
        directory = world.directory
        waiting = asyncio.create_task(directory.wait_for_change(directory.version))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        world.register("llama-api-after", 4190)
        await until(directory, lambda: "llama-api-after" in directory.services())

    async def test_is_not_stale_while_its_source_is_there(self, world: World) -> None:
        state = world.directory.state()
        assert (state.is_stale, state.age_s, state.reason) == (False, 0.0, "")

    async def test_can_be_closed_twice(self, world: World) -> None:
        await world.directory.close()
        await world.directory.close()


class AbsenceSuite:
    async def test_without_its_source_it_says_what_it_knew_and_recovers(self, world: LosableWorld) -> None:
        directory = world.directory
        world.register("llama-api-kept", 4200)
        await until(directory, lambda: bool(directory.healthy("llama-api-kept")))
        known = directory.instances("llama-api-kept")

        await world.go_away()
        await until(directory, lambda: directory.state().is_stale)
        assert directory.instances("llama-api-kept") == directory.healthy("llama-api-kept") == known
        assert directory.state().reason
        assert directory.state().age_s >= 0

        await world.come_back()
        await until(directory, lambda: not directory.state().is_stale)
        world.register("llama-api-later", 4201)
        await until(directory, lambda: bool(directory.healthy("llama-api-later")))
        assert directory.healthy("llama-api-kept") == known

    @pytest.mark.parametrize("round_number", [1, 2])
    async def test_it_survives_again_and_again(self, world: LosableWorld, round_number: int) -> None:
        directory = world.directory
        for _ in range(round_number):
            await world.go_away()
            await until(directory, lambda: directory.state().is_stale)
            await world.come_back()
            await until(directory, lambda: not directory.state().is_stale)
