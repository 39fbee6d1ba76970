"""The memory service's HTTP application.

It owns routes, the token and the bounds of a request; what is remembered is `memory/replicated_memory`'s.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipecatapp import __version__
from pipecatapp.memory.replicated_memory import ReplicatedMemory
from pipecatapp.ports import SavedStates
from pipecatapp.ports import memory_api as wire
from pipecatapp.web.errors import body_of, install_error_handlers

MAX_BODY_BYTES = 1_000_000
"""Largest request body; a turn's bound is about half of it."""
MAX_STATE_BYTES = 64_000_000
"""Largest body that carries a whole memory: some 60 000 turns."""
_LARGE = ("/v1/state", "/v1/hand-over")


@dataclass(frozen=True, slots=True)
class MemoryContext:
    """The memory service, as the routes see it."""

    memory: ReplicatedMemory
    states: SavedStates


class TokenGate:
    """ASGI middleware: nobody gets past it, or has a body read, without the token.

    `/health` is open, because it tells nothing of what is remembered.

    Args:
        app: What it guards.
        token: The token; "" lets everybody in (loopback only).
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass or refuse one request."""
        if scope["type"] != "http":
            return
        headers, path = Headers(scope=scope), scope["path"]
        given = headers.get("authorization", "").encode()
        if self._wanted and path != "/health" and not hmac.compare_digest(given, self._wanted):
            body = body_of(
                "token", "The memory service wants its token.", "Set TWIN_MEMORY_TOKEN to the service's own."
            )
            reply = JSONResponse(body, 401, headers={"WWW-Authenticate": "Bearer"})
            await reply(scope, receive, send)
            return
        bound = MAX_STATE_BYTES if path.startswith(_LARGE) else MAX_BODY_BYTES
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > bound:
            body = body_of("too-large", f"The request is larger than {bound} bytes.")
            await JSONResponse(body, 413)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return {"type": "http.disconnect"} if received > bound else message

        await self._app(scope, counted, send)


def create_memory_app(context: MemoryContext, token: str) -> FastAPI:
    """Return the application over a memory that is up.

    Args:
        context: The memory.
        token: What callers must show; "" for nothing.
    """
    app = FastAPI(title="Twin memory", version=__version__, docs_url=None, redoc_url=None)
    app.state.context = context
    install_error_handlers(app)
    app.add_middleware(TokenGate, token=token)
    _add_health(app)
    _add_facts(app)
    _add_turns(app)
    _add_whole(app)
    _add_saved_states(app)
    return app


def _context(request: Request) -> MemoryContext:
    context = request.app.state.context
    assert isinstance(context, MemoryContext)
    return context


Context = Annotated[MemoryContext, Depends(_context)]


def _add_health(app: FastAPI) -> None:
    @app.get("/health")
    async def health(context: Context) -> Response:
        """Say 200 only while this instance leads and its replica answers."""
        state = await context.memory.state()
        body: dict[str, Any] = {
            "status": "ok" if state.is_ready else "waiting",
            "role": state.role,
            "detail": state.detail,
            "pending": state.pending,
            "seq": state.seq,
        }
        return JSONResponse(body, 200 if state.is_ready else 503, headers={"Cache-Control": "no-store"})


def _add_facts(app: FastAPI) -> None:
    @app.post("/v1/facts")
    async def add(body: wire.AddFact, context: Context) -> Any:
        """Remember a fact."""
        fact = await context.memory.add_fact(
            body.text, session_id=body.session_id, request_id=body.request_id
        )
        return wire.FACT.dump_python(fact, mode="json")

    @app.get("/v1/facts")
    async def facts(context: Context) -> Any:
        """List the facts, oldest first."""
        return wire.FACTS.dump_python(await context.memory.list_facts(), mode="json")

    @app.post("/v1/search")
    async def search(body: wire.Search, context: Context) -> Any:
        """Find facts by meaning."""
        return wire.FACTS.dump_python(await context.memory.search(body.query, limit=body.limit), mode="json")

    @app.post("/v1/facts/delete")
    async def delete(body: wire.DeleteFact, context: Context) -> Any:
        """Forget a fact."""
        return {"deleted": await context.memory.delete_fact(body.fact_id, request_id=body.request_id)}


def _add_turns(app: FastAPI) -> None:
    @app.post("/v1/turns")
    async def append(body: wire.AppendTurn, context: Context) -> Any:
        """Keep a turn."""
        turn = body.turn.to_turn()
        await context.memory.append_turn(body.session_id, turn, request_id=body.request_id)
        return {}

    @app.post("/v1/turns/recent")
    async def recent(body: wire.RecentTurns, context: Context) -> Any:
        """Return a conversation's last turns."""
        turns = await context.memory.recent_turns(body.session_id, limit=body.limit)
        return wire.TURNS.dump_python(turns, mode="json")


def _add_whole(app: FastAPI) -> None:
    @app.post("/v1/forget")
    async def forget(body: wire.Request, context: Context) -> Any:
        """Forget everything."""
        return {"deleted": await context.memory.delete_all(request_id=body.request_id)}

    @app.get("/v1/state")
    async def export(context: Context) -> Any:
        """Return everything."""
        return Response(
            wire.STATE.dump_json(await context.memory.export_state()), media_type="application/json"
        )

    @app.post("/v1/state")
    async def replace(body: wire.WholeState, context: Context) -> Any:
        """Replace everything."""
        await context.memory.import_state(body.state, request_id=body.request_id)
        return {}

    @app.post("/v1/state/merge")
    async def merge(body: wire.WholeState, context: Context) -> Any:
        """Add what is not known yet."""
        return {"added": await context.memory.merge_state(body.state, request_id=body.request_id)}

    @app.post("/v1/hand-over")
    async def hand_over(body: wire.HandOver, context: Context) -> Any:
        """Carry out what another instance took in while it was cut off."""
        await context.memory.apply_handover(body.changes)
        return {}

    @app.get("/v1/verify")
    async def verify(context: Context) -> Any:
        """Check the chain and what is kept against it."""
        return wire.REPORT.dump_python(await context.memory.verify(), mode="json")


def _add_saved_states(app: FastAPI) -> None:
    @app.get("/v1/states")
    async def states(context: Context) -> Any:
        """List the saved states, newest first."""
        return wire.SAVED_LIST.dump_python(list(await context.states.list()), mode="json")

    @app.get("/v1/states/{name}")
    async def load(name: str, context: Context) -> Any:
        """Return a saved state's file."""
        return Response(await context.states.load(name), media_type="application/json")

    @app.post("/v1/states/{name}")
    async def save(name: str, saved_s: float, request: Request, context: Context) -> Any:
        """Keep a saved state's file."""
        saved = await context.states.save(name, await request.body(), saved_s=saved_s)
        return wire.SAVED.dump_python(saved, mode="json")
