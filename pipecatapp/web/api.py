"""The HTTP application.

It owns which routes there are and what stands before them; the parts come from the composition root.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from pipecatapp import __version__
from pipecatapp.web import sockets
from pipecatapp.web.dependencies import AgentContext
from pipecatapp.web.errors import install_error_handlers
from pipecatapp.web.routes import calls, chat, memory, status, v1
from pipecatapp.web.security import SecurityMiddleware

STATIC_DIR = Path(__file__).parent / "static"


class _Page(StaticFiles):
    """The page's files; a browser asks each time whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Serve a file with revalidation."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(context: AgentContext) -> FastAPI:
    """Return the application over an agent that is up."""
    # The interactive docs of FastAPI load scripts from outside, so only the schema is served.
    app = FastAPI(title="Twin", version=__version__, docs_url=None, redoc_url=None)
    app.state.context = context
    install_error_handlers(app)
    if context.gateway is not None:
        app.add_middleware(v1.V1, gateway=context.gateway)
    app.add_middleware(SecurityMiddleware, names=context.allowed_hosts)
    for module in (calls, chat, memory, status, sockets):
        app.include_router(module.router)
    app.mount("/", _Page(directory=STATIC_DIR, html=True), name="page")
    return app
