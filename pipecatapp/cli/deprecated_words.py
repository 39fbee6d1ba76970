"""Command-line words of earlier versions, which this one still accepts.

It owns the two tables and the sentence that says what is new; they go with the next version. It imports
nothing, because every run reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

COMMANDS = {
    ("artifacts", "go"): ("artifacts", "go-path"),
    ("benchmark",): ("node", "bench"),
    ("keys",): ("api-keys",),
    ("measure",): ("node", "profile"),
    ("memory", "begin"): ("memory", "init"),
    ("tls", "authority"): ("tls", "init-ca"),
    ("token",): ("join-token",),
}
"""Earlier command to the one that is meant."""

OPTIONS = {
    ("expert", "serve"): {"--order": "--config"},
    ("memory", "init"): {"--look": "--dry-run"},
    ("node", "profile"): {"--again": "--force"},
    ("tls", "sign"): {"--client": "--client-auth"},
}
"""Command to its earlier options, each with the one that is meant."""


def current_words(words: Sequence[str]) -> tuple[list[str], str]:
    """Return a command line in the words that are meant, and what to tell about earlier ones, or ""."""
    start = next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))
    before, rest = list(words[:start]), list(words[start:])
    for old, new in COMMANDS.items():
        if tuple(rest[: len(old)]) == old:
            rest[: len(old)] = new
            was, now = list(old), list(new)
            break
    else:
        was, now = rest[:2], rest[:2]
    options = OPTIONS.get((now[0], now[-1]), {}) if now else {}
    end = rest.index("--") if "--" in rest else len(rest)
    for at in range(len(now), end):
        name, equals, value = rest[at].partition("=")
        if name in options:
            rest[at] = f"{options[name]}{equals}{value}"
            was.append(name)
            now.append(options[name])
    told = f"'{' '.join(was)}' is now '{' '.join(now)}'; the next version refuses it" if was != now else ""
    return before + rest, told
