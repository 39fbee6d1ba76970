"""Check that HCL files parse and are laid out as `nomad fmt` lays them out, without the nomad program.

It owns the three rules that `fmt` applies to plain job files: two spaces a level, one space around a lone
`=`, and `=` in one column over consecutive one-line attributes. Heredocs are left as they are. Whether a
job is valid is Nomad's to say.

    python scripts/hcl_style.py [--write] FILE...
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import hcl2
from lark.exceptions import LarkError

_HEREDOC = re.compile(r"<<-?\s*([A-Za-z_]\w*)\s*$")
_ATTRIBUTE = re.compile(r"^([A-Za-z_][\w-]*|\"[^\"]*\")\s*=(?!=)\s*(.*)$")


def formatted(text: str) -> str:
    """Return `text` in the canonical layout."""
    lines: list[str] = []
    run: list[tuple[int, str, str, str]] = []
    depth = 0
    terminator = ""

    def end_run() -> None:
        width = max((len(name) for _, _, name, _ in run), default=0)
        for index, indent, name, value in run:
            lines[index] = f"{indent}{name.ljust(width)} = {value}".rstrip()
        run.clear()

    for raw in text.splitlines():
        if terminator:
            lines.append(raw)
            terminator = "" if raw.strip() == terminator else terminator
            continue
        line = raw.strip()
        code = _without_strings(line)
        closing = len(code) - len(code.lstrip("}])"))
        depth = max(0, depth - closing)
        indent = "  " * depth
        depth = max(0, depth + sum(code[closing:].count(c) for c in "{[(") - _count(code[closing:], "}])"))
        attribute = _ATTRIBUTE.match(line)
        lines.append(indent + line if line else "")
        if attribute is None:
            end_run()
        else:
            run.append((len(lines) - 1, indent, attribute[1], attribute[2]))
            heredoc = _HEREDOC.search(line)
            if heredoc or code.rstrip().endswith(("{", "[", "(")):
                end_run()
            terminator = heredoc[1] if heredoc else ""
    end_run()
    return "\n".join(lines).rstrip("\n") + "\n"


def _count(text: str, characters: str) -> int:
    return sum(text.count(character) for character in characters)


def _without_strings(line: str) -> str:
    """Return a line with its strings and comment blanked, so that brackets in them do not count."""
    blanked = re.sub(r'"(?:\\.|[^"\\])*"', lambda found: "_" * len(found[0]), line)
    return re.sub(r"(#|//).*$", "", blanked)


def faults(path: Path) -> list[str]:
    """Return what is wrong with one file, as `file:line: sentence`."""
    text = path.read_text(encoding="utf-8")
    try:
        hcl2.loads(text)
    except LarkError as exc:
        first = str(exc).splitlines()[0]
        return [f"{path}:{getattr(exc, 'line', 1)}: does not parse: {first}"]
    wanted = formatted(text).splitlines()
    found = text.splitlines()
    for number, (is_line, want_line) in enumerate(zip(found, wanted, strict=False), start=1):
        if is_line != want_line:
            return [f"{path}:{number}: layout; expected `{want_line}`; scripts/lint --fix writes it"]
    return [] if len(found) == len(wanted) else [f"{path}:{len(found)}: layout; blank lines at the end"]


def main() -> int:
    """Check or rewrite the named files; return 1 when one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write the canonical layout")
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.write:
        for path in arguments.files:
            path.write_text(formatted(path.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    found = [fault for path in arguments.files for fault in faults(path)]
    sys.stdout.write("".join(f"{fault}\n" for fault in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
