"""The gateway's components, and authentication of its callers.

It owns the bundle that the composition root fills, and the rule by which a caller is let in.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.api_keys import PREFIX, digest_of
from pipecatapp.gateway.audio import Synthesizer, Transcriber
from pipecatapp.gateway.proxy import UpstreamProxy
from pipecatapp.gateway.rate_limits import RateLimiter
from pipecatapp.gateway.tool_emulation import ToolPrompts
from pipecatapp.ports import ApiKey, ApiKeyStore, Embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The gateway, as the routes see it.

    Args:
        keys: The keys that are good.
        limiter: What is left to each.
        relay: Asks experts.
        embedder: Makes vectors.
        ears: Writes sound files down.
        mouth: Speaks texts into sound files.
        tool_prompts: What a model without tools of its own is told of a caller's.
    """

    keys: ApiKeyStore
    limiter: RateLimiter
    proxy: UpstreamProxy
    embedder: Embedder
    transcriber: Transcriber
    synthesizer: Synthesizer
    tool_prompts: ToolPrompts

    async def close(self) -> None:
        """Let go of connections; the engines are others'."""
        self.proxy.close()
        await self.keys.close()

    def authenticate(self, authorization: str, *, is_local: bool) -> ApiKey | None:
        """Return a caller's key; None for a program on this machine, which needs none.

        A program on this machine may send any text as its key, because OpenAI's clients insist on one; a text
        that looks like a key of ours must be one there too, so that a revoked key is noticed.

        Args:
            authorization: The header of that name.
            is_local: Whether the caller is on this very machine.

        Raises:
            GatewayError: `invalid_api_key`.
            AdapterError: The keys cannot be read.
        """
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip() if scheme.lower() == "bearer" else ""
        if secret:
            key = self.keys.known().get(digest_of(secret))
            if key is not None:
                return key
        if is_local and not secret.startswith(PREFIX):
            return None
        message = (
            "This key is not good here, or no longer."
            if secret
            else "The gateway wants a key, as `Authorization: Bearer KEY`."
        )
        raise GatewayError("invalid_api_key", f"{message} `twin api-keys create NAME` makes one.", status=401)
