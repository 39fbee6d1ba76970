"""The lines of an inventory, and where YAML finds groups and hosts in them.

It owns the edit that keeps comments and order; whether a change is right is `rules` and `changes`' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from .reading import InventoryError, at, is_ini, range_of

AS_YAML = "ansible-inventory -i FILE --list --export --yaml --output inventory.yaml"
"""The command that makes YAML of an inventory of another form."""


class Lines:
    """The file's lines, and where YAML finds groups and hosts in them, in groups of groups too.

    Raises:
        InventoryError: The text is INI, which is not changed here.
    """

    def __init__(self, text: str) -> None:
        if is_ini(text):
            raise InventoryError(
                f"This inventory is INI (line 1), and only YAML is changed by a program: {AS_YAML} "
                f"makes one of "
                "it, or change it by hand."
            )
        self._lines = (text if text.endswith("\n") or not text else text + "\n").splitlines(keepends=True)

    def text(self) -> str:
        """The whole file."""
        return "".join(self._lines)

    def take(self, group: str, name: str) -> list[str]:
        """Remove a host with the comment above it; return its lines without their indentation."""
        begin, end, column = self._place(group, name)
        taken = [line[column:] if line.strip() else line for line in self._lines[begin:end]]
        del self._lines[begin:end]
        _, hosts = self._hosts(group)
        if hosts is None or not isinstance(hosts, yaml.MappingNode):
            self._empty(group)
        return taken

    def replace(self, group: str, name: str, block: list[str]) -> None:
        """Put `block` where a host is; the comment above it stays."""
        begin, end, column = self._place(group, name)
        while self._lines[begin].lstrip().startswith("#"):
            begin += 1
        self._lines[begin:end] = [" " * column + line for line in block]

    def insert(self, group: str, block: list[str]) -> None:
        """Put a host at the end of a group."""
        key, hosts = self._hosts(group)
        if isinstance(hosts, yaml.MappingNode) and hosts.value:
            if hosts.flow_style:
                raise InventoryError(f"Write every machine of '{group}' on a line of its own, not in braces.")
            column = hosts.value[0][0].start_mark.column
            _, where, _ = self._place(group, hosts.value[-1][0].value)
        else:
            where, column = self._open(group, key)
        self._lines[where:where] = [" " * column + line if line.strip() else line for line in block]

    def _open(self, group: str, key: yaml.Node | None) -> tuple[int, int]:
        """Make `hosts:` of an empty group ready for lines below it; return where, and their column."""
        content = self._group(group)
        if content is None:
            self._lines += ["\n", f"{group}:\n", "  hosts:\n"]
            return len(self._lines), 4
        if key is None:
            name, inner = content
            begin, column = name.start_mark.line, name.start_mark.column
            if isinstance(inner, yaml.MappingNode) and inner.value:
                if inner.flow_style:
                    raise InventoryError(
                        f"Write '{group}' (line {begin + 1}) on several lines, not in braces."
                    )
                below = inner.value[0][0].start_mark.column
            else:
                below = column + 2
                self._lines[begin] = " " * column + f"{group}:\n"
            self._lines.insert(begin + 1, " " * below + "hosts:\n")
            return begin + 2, below + 2
        line = key.start_mark.line
        self._lines[line] = re.sub(r"hosts:\s*(\{\s*\}|null|~)?", "hosts:", self._lines[line].rstrip()) + "\n"
        return line + 1, key.start_mark.column + 2

    def _empty(self, group: str) -> None:
        key, _ = self._hosts(group)
        assert key is not None
        line = key.start_mark.line
        self._lines[line] = self._lines[line].replace("hosts:", "hosts: {}", 1)

    def _group(self, group: str) -> tuple[yaml.Node, yaml.Node] | None:
        """The group's name and content; where it stands several times, the one with machines."""
        root = yaml.compose(self.text(), Loader=yaml.SafeLoader)
        found = list(_groups_named(root, group))
        return next(
            (pair for pair in found if _hosts_in(pair[1])[0] is not None), found[0] if found else None
        )

    def _hosts(self, group: str) -> tuple[yaml.Node | None, yaml.Node | None]:
        pair = self._group(group)
        return _hosts_in(pair[1]) if pair else (None, None)

    def _place(self, group: str, name: str) -> tuple[int, int, int]:
        """First line of a host with the comment above it, the line after its last one, and its column."""
        _, hosts = self._hosts(group)
        pairs = hosts.value if isinstance(hosts, yaml.MappingNode) else []
        key = next((key for key, _ in pairs if key.value == name), None)
        if key is None or not isinstance(hosts, yaml.MappingNode):
            pattern = range_of(self.text(), name)
            stands = f"is one of {pattern}" if pattern else "does not stand as a name of its own"
            raise InventoryError(
                f"'{name}'{at(self.text(), name)} {stands}; write each machine on a line of its own, then do "
                "this again."
            )
        begin, column = key.start_mark.line, key.start_mark.column
        if hosts.flow_style:
            raise InventoryError(f"Write every machine of '{group}' on a line of its own, not in braces.")
        end = begin + 1
        for number in range(begin + 1, len(self._lines)):
            line = self._lines[number]
            indent = len(line) - len(line.lstrip())
            if not line.strip() or (line.lstrip().startswith("#") and indent <= column):
                continue
            if indent <= column:
                break
            end = number + 1
        above = re.compile(rf" {{{column}}}#")
        while begin > 0 and above.match(self._lines[begin - 1]):
            begin -= 1
        return begin, end, column


def _groups_named(groups: yaml.Node | None, name: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    for key, content in groups.value if isinstance(groups, yaml.MappingNode) else []:
        if key.value == name:
            yield key, content
        for part, inner in content.value if isinstance(content, yaml.MappingNode) else []:
            if part.value == "children":
                yield from _groups_named(inner, name)


def _hosts_in(content: yaml.Node) -> tuple[yaml.Node | None, yaml.Node | None]:
    inner = content.value if isinstance(content, yaml.MappingNode) else []
    return next(((key, value) for key, value in inner if key.value == "hosts"), (None, None))
