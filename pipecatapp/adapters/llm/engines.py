"""The engines that LLM_SERVICE may name: what serves this machine's language model, or that another does.

`auto` takes the first default that runs here (`app/local_llm`). Importing the table loads no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipecatapp.adapters.engine import Default, EngineSpec, NativeTrial
from pipecatapp.adapters.host.cpu import LLAMA_WHEEL_FLAGS

CommandBuilder = Callable[[int], Sequence[str]]
"""Port to argument list, as `server_process` takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a child server is started with.

    Args:
        model: GGUF file.
        binary: Its program, where it is a built one.
        threads: CPU threads, > 0.
        context: Tokens of each slot, > 0.
        slots: Prompt caches, > 0.
    """

    model: Path
    binary: Path = Path()
    threads: int
    context: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmEngine(EngineSpec):
    """An engine of the language model.

    Args:
        command: Returns the command of the child server; None when another server is asked.
        artifact: Name of its program in `artifacts.yaml`; "" when it is no built one.
    """

    command: Callable[[ServerOptions], CommandBuilder] | None = None
    artifact: str = ""


def _xllamacpp(options: ServerOptions) -> CommandBuilder:
    from pipecatapp.adapters.llm.server_process import xllamacpp_command

    return xllamacpp_command(
        options.model, threads=options.threads, context=options.context, slots=options.slots
    )


def _llama_server(options: ServerOptions) -> CommandBuilder:
    from pipecatapp.adapters.llm.server_process import llama_server_command

    return llama_server_command(
        options.binary,
        options.model,
        threads=options.threads,
        context=options.context,
        slots=options.slots,
    )


ENGINES: Mapping[str, LlmEngine] = {
    "xllamacpp": LlmEngine(
        label="the prebuilt LLM engine",
        title="llama.cpp's server in a prebuilt wheel",
        default=Default.ALWAYS,
        requires_cpu=LLAMA_WHEEL_FLAGS,
        extra="voice",
        trial=NativeTrial(
            name="xllamacpp",
            label="the prebuilt language model's engine (xllamacpp)",
            part="llm",
            libraries={"xllamacpp": "xllamacpp"},
        ),
        command=_xllamacpp,
    ),
    "llama-server": LlmEngine(
        label="llama-server",
        title="llama.cpp's server, built for every x86-64",
        default=Default.ALWAYS,
        artifact="llama.cpp",
        command=_llama_server,
    ),
    "openai": LlmEngine(
        label="the server",
        title="any `/chat/completions`",
        needs_server=True,
    ),
}
"""By the names of LLM_SERVICE, in order of preference."""
