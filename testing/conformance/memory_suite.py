"""What every `MemoryStore` does.

It owns the claims. Subclass `MemorySuite` and give a fixture `memory`, an empty store whose nearness is
`FakeEmbedder`'s: shared words.
"""

from __future__ import annotations

import asyncio

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Fact, MemoryState, MemoryStore, StoredTurn


def turn(number: int, *, text: str = "hello", interrupted: bool = False) -> StoredTurn:
    return StoredTurn(
        turn_id=f"turn-{number}",
        user_text=text,
        assistant_text=f"answer {number}",
        interrupted=interrupted,
        created_s=1000.0 + number,
    )


STATE = MemoryState(
    facts=(
        Fact(id="a", text="My car is a Volvo.", created_s=5.0, session_id="old"),
        Fact(id="b", text="My bike is blue.", created_s=4.0),
    ),
    conversations={"old": (turn(1), turn(2, text="Grüße 🙂", interrupted=True)), "other": (turn(3),)},
)


class MemorySuite:
    async def test_is_a_memory_store(self, memory: MemoryStore) -> None:
        assert isinstance(memory, MemoryStore)

    async def test_an_empty_one_knows_nothing(self, memory: MemoryStore) -> None:
        assert await memory.search("dog", limit=3) == []
        assert await memory.list_facts() == []
        assert await memory.recent_turns("nobody", limit=10) == []
        assert await memory.export_state() == MemoryState()
        assert not await memory.delete_fact("none")
        assert await memory.delete_all() == 0

    async def test_the_nearest_fact_comes_first(self, memory: MemoryStore) -> None:
        dog = await memory.add_fact("My dog is called Biscuit.", session_id="s")
        await memory.add_fact("I live in Vienna.")
        found = await memory.search("What is my dog called?", limit=2)
        assert (found[0].id, found[0].text, found[0].session_id) == (dog.id, dog.text, "s")
        assert 1 >= found[0].score > found[1].score >= -1

    async def test_a_search_returns_no_more_than_its_limit(self, memory: MemoryStore) -> None:
        for number in range(5):
            await memory.add_fact(f"My box {number} is full.")
        assert len(await memory.search("box", limit=3)) == 3
        assert await memory.search("box", limit=0) == []

    async def test_a_known_fact_is_returned_not_doubled(self, memory: MemoryStore) -> None:
        first = await memory.add_fact("My dog is called Biscuit.")
        again = await memory.add_fact("  my dog is  called BISCUIT ")
        assert again == first
        assert await memory.list_facts() == [first]

    async def test_a_newer_fact_of_the_same_shape_comes_first(self, memory: MemoryStore) -> None:
        await memory.add_fact("My dog is called Rex.")
        await memory.add_fact("My dog is called Biscuit the Third.")
        found = await memory.search("What is my dog called?", limit=2)
        assert [fact.text.split()[4] for fact in found] == ["Biscuit", "Rex."]
        assert found[1].score - found[0].score > 0.03, "the older one is nearer by words alone"

    async def test_a_fact_said_again_is_the_newest(self, memory: MemoryStore) -> None:
        await memory.add_fact("My dog is called Rex.")
        await memory.add_fact("My dog is called Biscuit.")
        await memory.add_fact("My dog is called Rex.")
        assert (await memory.search("What is my dog called?", limit=1))[0].text == "My dog is called Rex."

    async def test_an_empty_fact_is_refused(self, memory: MemoryStore) -> None:
        with pytest.raises(AdapterError, match="empty"):
            await memory.add_fact(" \n")

    async def test_facts_are_listed_oldest_first(self, memory: MemoryStore) -> None:
        texts = ["My name is Alex.", "My cat is grey.", "I live in Vienna."]
        for text in texts:
            await memory.add_fact(text)
        assert [fact.text for fact in await memory.list_facts()] == texts

    async def test_a_deleted_fact_is_found_no_more(self, memory: MemoryStore) -> None:
        dog = await memory.add_fact("My dog is called Biscuit.")
        cat = await memory.add_fact("My cat is called Tom.")
        assert await memory.delete_fact(dog.id)
        assert not await memory.delete_fact(dog.id)
        assert [fact.id for fact in await memory.search("dog called Biscuit", limit=5)] == [cat.id]

    async def test_turns_come_back_oldest_first_and_newest_kept(self, memory: MemoryStore) -> None:
        for number in range(12):
            await memory.append_turn("s", turn(number, interrupted=number == 11))
        recent = await memory.recent_turns("s", limit=10)
        assert recent == [turn(number, interrupted=number == 11) for number in range(2, 12)]
        assert await memory.recent_turns("s", limit=0) == []

    async def test_conversations_do_not_mix(self, memory: MemoryStore) -> None:
        await memory.append_turn("a", turn(1))
        await memory.append_turn("b", turn(2))
        assert await memory.recent_turns("a", limit=10) == [turn(1)]

    async def test_a_turn_is_kept_once(self, memory: MemoryStore) -> None:
        await memory.append_turn("a", turn(1))
        await memory.append_turn("a", turn(1))
        assert await memory.recent_turns("a", limit=10) == [turn(1)]

    async def test_a_state_survives_import_and_export(self, memory: MemoryStore) -> None:
        await memory.add_fact("My dog is called Biscuit.")
        await memory.append_turn("gone", turn(9))
        await memory.import_state(STATE)
        assert await memory.export_state() == STATE
        assert [fact.text for fact in await memory.search("my dog or my car", limit=5)][0] == STATE.facts[
            0
        ].text
        assert await memory.recent_turns("gone", limit=10) == []

    async def test_a_state_that_cannot_be_imported_changes_nothing(self, memory: MemoryStore) -> None:
        dog = await memory.add_fact("My dog is called Biscuit.")
        await memory.append_turn("s", turn(1))
        doubled = MemoryState(
            facts=(Fact(id="a", text="One.", created_s=1.0), Fact(id="a", text="Two.", created_s=2.0))
        )
        with pytest.raises(AdapterError):
            await memory.import_state(doubled)
        assert await memory.list_facts() == [dog]
        assert await memory.recent_turns("s", limit=10) == [turn(1)]

    async def test_delete_all_forgets_everything(self, memory: MemoryStore) -> None:
        await memory.import_state(STATE)
        assert await memory.delete_all() == 2
        assert await memory.export_state() == MemoryState()
        assert await memory.search("car", limit=3) == []

    async def test_facts_added_at_once_are_all_found(self, memory: MemoryStore) -> None:
        await asyncio.gather(*(memory.add_fact(f"My box {number} is full.") for number in range(30)))
        assert len(await memory.search("box", limit=100)) == 30
        assert len({fact.id for fact in await memory.list_facts()}) == 30
