"""Apologies are told to people and kept out of prompts."""

from __future__ import annotations

import pytest

from pipecatapp.agent.fallback_replies import FALLBACK_REPLIES, without_fallback_reply

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("apology", FALLBACK_REPLIES)
def test_an_apology_is_taken_off_the_end_of_an_answer(apology: str) -> None:
    assert without_fallback_reply(apology) == ""
    assert (
        without_fallback_reply(f"Once there was a lighthouse. {apology} ") == "Once there was a lighthouse."
    )


def test_an_answer_without_one_is_left_as_it_is() -> None:
    assert without_fallback_reply("Sorry to hear that. Paris. ") == "Sorry to hear that. Paris. "
