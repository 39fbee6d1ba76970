"""docs/reference/api.md, from FastAPI's schema of both applications, the gateway's table and `events.py`.

It owns the page's form; what a route or an event says is its own docstring's.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIWebSocketRoute

from pipecatapp import events
from pipecatapp.events import EVENT_KINDS, Event
from pipecatapp.web import sockets
from pipecatapp.web.api import create_app
from pipecatapp.web.dependencies import AgentContext
from pipecatapp.web.memory_api import MemoryContext, create_memory_app
from pipecatapp.web.routes.v1 import V1
from verification.reference.markdown import code, page, paragraph, table

Schema = Mapping[str, Any]


def text(_repo: Path) -> str:
    """Return the page."""
    nothing = SimpleNamespace(gateway=None, allowed_hosts=frozenset)
    agent = create_app(cast("AgentContext", nothing))
    memory = create_memory_app(cast("MemoryContext", nothing), "")
    gateway = V1(agent, cast("Any", None))
    return page(
        "HTTP and WebSocket",
        "pipecatapp/web and pipecatapp/events.py",
        paragraph(
            "Who may ask for what, and by which name: [security.md](../security.md). An error is JSON, "
            "`{error: {code, message, hint}}`. A running agent serves the schema at `/openapi.json`."
        ),
        "## The agent",
        *_application(agent),
        "## The conversation's WebSocket",
        *_sockets(),
        "## Events",
        paragraph(inspect.getdoc(events) or ""),
        *_events(),
        "## The models for other programs",
        paragraph("OpenAI's interface; [gateway.md](../gateway.md) says what is taken and what is added."),
        table(("method", "path"), ((method, code(path)) for path, method in gateway.methods.items())),
        "## The memory service",
        paragraph(
            "Every path but `/health` wants the header `Authorization: Bearer TWIN_MEMORY_TOKEN`; "
            "[memory.md](../memory.md)."
        ),
        *_application(memory),
    )


def _application(app: FastAPI) -> Iterator[str]:
    schema = app.openapi()
    rows, used = [], []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            body = _body(operation)
            used.append(body)
            given = [f"`{each['name']}` ({each['in']})" for each in operation.get("parameters", ())]
            taken = ", ".join((*given, *([code(body)] if body else [])))
            rows.append((method.upper(), code(path), operation.get("description", ""), taken))
    yield table(("method", "path", "what it does", "takes"), rows)
    models = schema.get("components", {}).get("schemas", {})
    for name in _closed(models, used):
        yield f"### {name}"
        yield paragraph(models[name].get("description", ""))
        required = models[name].get("required", ())
        yield table(
            ("field", "type", "default", "meaning"),
            (
                (code(field), _type(kind), _default(kind, field in required), kind.get("description", ""))
                for field, kind in models[name].get("properties", {}).items()
            ),
        )


def _body(operation: Schema) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def _closed(models: Schema, used: list[str]) -> list[str]:
    """Return the models that requests are made of, in the order in which they are met."""
    found: list[str] = []
    waiting = [name for name in used if name]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found.append(name)
            waiting += re.findall(r"#/components/schemas/(\w+)", str(models[name]))
    return found


def _type(kind: Schema) -> str:
    if "$ref" in kind:
        return code(str(kind["$ref"]).rpartition("/")[2])
    if "const" in kind:
        return code(kind["const"])
    if "enum" in kind:
        return ", ".join(map(code, kind["enum"]))
    if "anyOf" in kind:
        return " or ".join(_type(each) for each in kind["anyOf"])
    if kind.get("type") == "array":
        return f"list of {_type(kind.get('items', {}))}"
    return str(kind.get("type", "any"))


def _default(kind: Schema, is_required: bool) -> str:
    if is_required or "default" not in kind:
        return "" if not is_required else "must be given"
    return code(json.dumps(kind["default"]))


def _sockets() -> Iterator[str]:
    for route in sockets.router.routes:
        if isinstance(route, APIWebSocketRoute):
            yield f"### {route.path}"
            names = [name for name in inspect.signature(route.endpoint).parameters if name != "socket"]
            query = f" Query: {', '.join(map(code, names))}." if names else ""
            yield paragraph((inspect.getdoc(route.endpoint) or "") + query)
    yield paragraph((inspect.getdoc(sockets) or "").rpartition("\n\n")[2])


def _events() -> Iterator[str]:
    classes = {
        cls.kind: cls
        for cls in vars(events).values()
        if isinstance(cls, type) and issubclass(cls, Event) and cls is not Event
    }
    yield table(
        ("kind", "when", "fields"),
        (
            (code(kind), " ".join((inspect.getdoc(classes[kind]) or "").split()), _fields(classes[kind]))
            for kind in EVENT_KINDS
        ),
    )


def _fields(cls: type[Event]) -> str:
    return ", ".join(f"`{field.name}: {field.type}`" for field in dataclasses.fields(cls))
