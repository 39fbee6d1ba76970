"""What every `SavedStates` does.

It owns the claims. Subclass `StatesSuite` and give a fixture `states` that holds nothing yet.
"""

from __future__ import annotations

import pytest

from pipecatapp.errors import ConfigError
from pipecatapp.ports import SavedStates


class StatesSuite:
    async def test_is_a_place_for_states(self, states: SavedStates) -> None:
        assert isinstance(states, SavedStates)
        assert list(await states.list()) == []

    async def test_a_state_comes_back_as_it_was(self, states: SavedStates) -> None:
        data = bytes(range(256)) * 4_000  # more than one piece of any place
        saved = await states.save("monday_1", data, saved_s=1_700_000_000.5)
        assert (saved.name, saved.size_bytes) == ("monday_1", len(data))
        assert await states.load("monday_1") == data
        assert [(each.name, each.size_bytes) for each in await states.list()] == [("monday_1", len(data))]

    async def test_saving_again_replaces(self, states: SavedStates) -> None:
        await states.save("x", b"old" * 200_000, saved_s=1.0)
        await states.save("x", b"new", saved_s=2.0)
        assert await states.load("x") == b"new"
        await states.save("x", b"new", saved_s=3.0)
        assert await states.load("x") == b"new"
        assert len(await states.list()) == 1

    async def test_two_names_do_not_share_their_end(self, states: SavedStates) -> None:
        await states.save("a", b"same", saved_s=1.0)
        await states.save("b", b"same", saved_s=1.0)
        await states.save("a", b"other", saved_s=2.0)
        assert (await states.load("a"), await states.load("b")) == (b"other", b"same")

    async def test_an_unknown_state_lists_the_saved_ones(self, states: SavedStates) -> None:
        with pytest.raises(ConfigError, match="no saved state 'monday'; saved: none yet"):
            await states.load("monday")
        await states.save("tuesday", b"x", saved_s=1.0)
        with pytest.raises(ConfigError, match="no saved state 'monday'; saved: tuesday") as caught:
            await states.load("monday")
        assert (caught.value.code, caught.value.status) == ("unknown-state", 404)

    @pytest.mark.parametrize(
        "name", ["", ".", "../x", "a/b", "a.json", "-x", "a b", "x\n", "x" * 65, "ü", "a\0"]
    )
    async def test_a_name_that_is_a_path_is_refused(self, states: SavedStates, name: str) -> None:
        for call in (states.save(name, b"x", saved_s=1.0), states.load(name)):
            with pytest.raises(ConfigError, match="use 1 to 64 letters") as caught:
                await call
            assert caught.value.status == 422
        assert list(await states.list()) == []
