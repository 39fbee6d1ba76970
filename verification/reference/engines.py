"""docs/reference/engines.md, from the tables of engines.

It owns the page's form and the default rule in words; the entries are the tables'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipecatapp.adapters.embed.engines import ENGINES as EMBEDDERS
from pipecatapp.adapters.engine import Default, EngineSpec, feature_names
from pipecatapp.adapters.llm.engines import ENGINES as LLMS
from pipecatapp.adapters.llm.engines import LlmEngine
from pipecatapp.adapters.stt.engines import ENGINES as STTS
from pipecatapp.adapters.tts.engines import ENGINES as TTSS
from verification.reference.markdown import code, page, paragraph, table

TABLES: Mapping[str, tuple[str, Mapping[str, EngineSpec]]] = {
    "Speech to text": ("STT_SERVICE", STTS),
    "Text to speech": ("TTS_SERVICE", TTSS),
    "Language model": ("LLM_SERVICE", LLMS),
    "Embeddings": ("EMBEDDER_SERVICE", EMBEDDERS),
}


def text(_repo: Path) -> str:
    """Return the page."""
    parts = [
        paragraph(
            "What each setting may name. `auto` takes the first default that the machine can run. An engine "
            "that is tried first does one real operation in a child process; how, and what takes its place: "
            "[engines.md](../engines.md)."
        ),
    ]
    for title, (variable, specs) in TABLES.items():
        parts += [
            f"## {title}, {variable}",
            table(
                ("name", "engine", "CPU", "needs", "default", "tried first"),
                (
                    (
                        code(name),
                        spec.title,
                        feature_names(spec.requires_cpu) or "any",
                        "; ".join(_needs(spec, variable)) or "nothing",
                        _default(name, specs),
                        spec.trial.label if spec.trial else "",
                    )
                    for name, spec in specs.items()
                ),
            ),
        ]
    return page("Engines", "pipecatapp/adapters/*/engines.py", *parts)


def _needs(spec: EngineSpec, variable: str) -> Iterator[str]:
    if spec.needs_server:
        yield code(variable.replace("_SERVICE", "_BASE_URL"))
    if spec.extra:
        yield code(f"pip install 'twin[{spec.extra}]'")
    if spec.package:
        yield f"the Debian package {spec.package}"
    if spec.models:
        yield f"a model {code(spec.models + '*')}"
    if isinstance(spec, LlmEngine) and spec.artifact:
        yield code(f"twin artifacts fetch {spec.artifact}")
    if spec.note:
        yield spec.note


def _default(name: str, specs: Mapping[str, EngineSpec]) -> str:
    """Return when `auto` takes an engine, in words."""
    if specs[name].default is Default.NEVER:
        return ""
    before = [specs[each] for each in specs if specs[each].default is not Default.NEVER]
    before = before[: before.index(specs[name])]
    if not before:
        return "yes"
    reasons = [
        f"without {feature_names(spec.requires_cpu)}"
        if spec.requires_cpu
        else f"without a {spec.label} model"
        for spec in before
        if spec.requires_cpu or spec.default is Default.WITH_MODEL
    ]
    return ", ".join(reasons) or "when the one before dies"
