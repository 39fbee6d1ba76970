"""What every `Experts` does.

It owns the claims; subclass `ExpertsSuite` and give a fixture `house`: `math` is up, is good at "Solve the
equation", and answers "seven"; `ill` is not up; `main` answers "main"; there are no others.
"""

from __future__ import annotations

from pipecatapp.ports import ChatRequest, Experts, Message
from testing.conformance.llm_suite import collect, text_of

REQUEST = ChatRequest(messages=(Message("user", "What is three plus four?"),))


class ExpertsSuite:
    async def test_main_is_first_and_up(self, house: Experts) -> None:
        assert isinstance(house, Experts)
        assert (house.all()[0].name, house.all()[0].is_up) == ("main", True)

    async def test_all_are_told_once_in_a_stable_order(self, house: Experts) -> None:
        names = [expert.name for expert in house.all()]
        assert names == [expert.name for expert in house.all()]
        assert sorted(names) == ["ill", "main", "math"]

    async def test_what_an_expert_is_good_at_and_whether_it_is_up(self, house: Experts) -> None:
        known = {expert.name: expert for expert in house.all()}
        assert known["math"].examples == ("Solve the equation",)
        assert (known["math"].is_up, known["ill"].is_up) == (True, False)

    async def test_an_expert_is_asked_by_name(self, house: Experts) -> None:
        assert text_of(await collect(house.client("math"), REQUEST)) == "seven"
        assert text_of(await collect(house.client("main"), REQUEST)) == "main"

    async def test_main_answers_for_one_that_nobody_knows(self, house: Experts) -> None:
        assert text_of(await collect(house.client("nobody"), REQUEST)) == "main"
