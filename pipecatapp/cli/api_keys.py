"""`twin api-keys`: the keys that other programs use the models by.

It owns the command's form; what a key is, is `gateway`'s, and where keys are kept is `app`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING

from pipecatapp.app.api_keys import open_api_keys
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.configuration import load_settings
from pipecatapp.gateway.api_keys import by_age, create_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipecatapp.ports import ApiKeyStore

REQUESTS_PER_MINUTE = 60
"""Limit of a key for which none is named: a person's programs ask less."""
TOKENS_PER_MINUTE = 60_000
"""The same for tokens, prompt and answer: more than an old desktop reads and writes in a minute."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("api-keys", help="make, list and revoke the keys that programs use /v1 by")
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = commands.add_parser("create", help="print a new key; it is shown this once")
    create.add_argument("name", help="what you call it, such as the program that will use it")
    create.add_argument(
        "--requests", type=int, default=REQUESTS_PER_MINUTE, metavar="N", help="a minute; 0 for no limit"
    )
    create.add_argument(
        "--tokens", type=int, default=TOKENS_PER_MINUTE, metavar="N", help="a minute; 0 for no limit"
    )
    create.set_defaults(
        func=lambda options: _run(
            lambda store: _create(store, options.name, options.requests, options.tokens)
        )
    )
    listing = commands.add_parser("list", help="which keys are good, and their limits")
    listing.set_defaults(func=lambda options: _run(_list))
    revoke = commands.add_parser("revoke", help="make a key useless, at once")
    revoke.add_argument("id", help="as `twin api-keys list` shows it")
    revoke.set_defaults(func=lambda options: _run(lambda store: _revoke(store, options.id)))


def _run(work: Callable[[ApiKeyStore], Awaitable[int]]) -> int:
    async def run() -> int:
        store = await open_api_keys(load_settings())
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def _create(store: ApiKeyStore, name: str, requests: int, tokens: int) -> int:
    secret, key = await create_key(
        store, SystemClock(), name, requests_per_minute=requests, tokens_per_minute=tokens
    )
    print(secret)
    print(f"Key {key.id}, {name}: {_limits(requests, tokens)}. It is not shown again.")
    return 0


async def _list(store: ApiKeyStore) -> int:
    keys = by_age(store.known())
    if not keys:
        print("There are no keys; only programs on the agent's own machine may use /v1.")
    for key in keys:
        made = time.strftime("%Y-%m-%d", time.localtime(key.created_s))
        limits = _limits(key.requests_per_minute, key.tokens_per_minute)
        print(f"{key.id}  {made}  {key.name}: {limits}")
    return 0


async def _revoke(store: ApiKeyStore, key_id: str) -> int:
    if await store.remove(key_id):
        print(f"{key_id} is no longer good.")
        return 0
    print(f"There is no key {key_id!r}; `twin api-keys list` shows those there are.")
    return 1


def _limits(requests: int, tokens: int) -> str:
    parts = [f"{count} {what}" for count, what in ((requests, "requests"), (tokens, "tokens")) if count]
    return f"{' and '.join(parts)} a minute" if parts else "no limits"
