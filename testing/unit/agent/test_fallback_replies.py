"""Apologies are told to people and kept out of prompts."""

from __future__ import annotations

import pytest

from pipecatapp.agent.fallback_replies import APOLOGIES, without_apology

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("apology", APOLOGIES)
def test_an_apology_is_taken_off_the_end_of_an_answer(apology: str) -> None:
    assert without_apology(apology) == ""
    assert without_apology(f"Once there was a lighthouse. {apology} ") == "Once there was a lighthouse."


def test_an_answer_without_one_is_left_as_it_is() -> None:
    assert without_apology("Sorry to hear that. Paris. ") == "Sorry to hear that. Paris. "
