"""The upstream servers of an expert, and the order in which they are tried.

It owns what the gateway knows of a server; finding servers is the composition's, asking them `proxy`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipecatapp.errors import GatewayError

DEFAULT = "default"
"""What a program asks for that wants no certain expert."""

RETRY_S = 10.0
"""When a program that found nobody is told to come back (seconds)."""


class HealthObserver(Protocol):
    """What is seen of a server, by all who ask it: `experts.backend_pool.Backend`."""

    def on_request(self) -> None:
        """Note that it is asked; `on_done` must follow."""
        ...

    def on_first_token(self) -> None:
        """Note the first piece of its answer."""
        ...

    def on_error(self) -> None:
        """Note that it did not answer, or broke off."""
        ...

    def on_done(self) -> None:
        """Note that nothing more is wanted of what it was asked."""
        ...


class NullObserver:
    """For a server that is asked last in any case."""

    def on_request(self) -> None:
        """Note nothing."""

    def on_first_token(self) -> None:
        """Note nothing."""

    def on_error(self) -> None:
        """Note nothing."""

    def on_done(self) -> None:
        """Note nothing."""


NULL_OBSERVER = NullObserver()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A server with OpenAI's interface that answers for an expert.

    Args:
        base_url: Ends in /v1.
        name: What a person calls it.
        api_key: Sent as a bearer token; "" for none.
        model: What it wants to be asked for, by a server that is not llama.cpp; "" for llama.cpp, which takes
            any name, and fields of its own.
        calls_tools: Its model calls tools by itself; if not, a call is got from it by a JSON schema.
        observer: Told what becomes of each request.
    """

    base_url: str
    name: str
    api_key: str = ""
    model: str = ""
    calls_tools: bool = False
    observer: HealthObserver = NULL_OBSERVER


class Upstreams(Protocol):
    """The experts of this moment."""

    def experts(self) -> Sequence[str]:
        """Return the names of those that can be asked now, `main` first."""
        ...

    def for_expert(self, expert: str) -> Sequence[Upstream]:
        """Return who answers for `expert` or `DEFAULT`, best first; none for a name that nobody has."""
        ...

    def is_known(self, expert: str) -> bool:
        """Return whether there is such an expert, though it may not answer now, as while it starts again."""
        ...


def candidates(upstreams: Upstreams, model: str) -> Sequence[Upstream]:
    """Return who may answer for `model`, best first.

    Raises:
        GatewayError: `no_expert`, which asks to come back: it does not answer at the moment.
            `model_not_found`: the name is wrong; the message lists those there are.
    """
    found = upstreams.for_expert(model)
    if found:
        return found
    known = upstreams.experts()
    if model == DEFAULT or not known:
        message = "No language model answers at the moment."
    elif upstreams.is_known(model):
        message = f"The expert {model!r} does not answer at the moment; those that do: {', '.join(known)}"
    else:
        names = ", ".join([DEFAULT, *known])
        message = f"There is no expert {model!r} now; valid: {names}"
        raise GatewayError("model_not_found", message, param="model", status=404)
    raise GatewayError("no_expert", message, param="model", status=503, retry_after_s=RETRY_S)
