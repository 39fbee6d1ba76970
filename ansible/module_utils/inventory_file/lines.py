"""The lines of an inventory, and where YAML finds groups and hosts in them.

It owns the edit that keeps comments and order; whether a change is right is `rules` and `changes`' business.
"""

from __future__ import annotations

import re

import yaml

from .rules import InventoryError


class Lines:
    """The file's lines, and where YAML finds groups and hosts in them."""

    def __init__(self, text: str) -> None:
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
            _, at, _ = self._place(group, hosts.value[-1][0].value)
        else:
            at, column = self._open(group, key)
        self._lines[at:at] = [" " * column + line if line.strip() else line for line in block]

    def _open(self, group: str, key: yaml.Node | None) -> tuple[int, int]:
        """Make `hosts:` of an empty group ready for lines below it; return where, and their column."""
        content = self._group(group)
        if content is None:
            self._lines += ["\n", f"{group}:\n", "  hosts:\n"]
            return len(self._lines), 4
        if key is None:
            begin = content[0].start_mark.line
            self._lines[begin] = f"{group}:\n"
            self._lines.insert(begin + 1, "  hosts:\n")
            return begin + 2, 4
        line = key.start_mark.line
        self._lines[line] = re.sub(r"hosts:\s*(\{\s*\}|null|~)?", "hosts:", self._lines[line].rstrip()) + "\n"
        return line + 1, key.start_mark.column + 2

    def _empty(self, group: str) -> None:
        key, _ = self._hosts(group)
        assert key is not None
        line = key.start_mark.line
        self._lines[line] = self._lines[line].replace("hosts:", "hosts: {}", 1)

    def _group(self, group: str) -> tuple[yaml.Node, yaml.Node] | None:
        root = yaml.compose(self.text(), Loader=yaml.SafeLoader)
        pairs = root.value if isinstance(root, yaml.MappingNode) else []
        return next(((key, value) for key, value in pairs if key.value == group), None)

    def _hosts(self, group: str) -> tuple[yaml.Node | None, yaml.Node | None]:
        pair = self._group(group)
        inner = pair[1].value if pair and isinstance(pair[1], yaml.MappingNode) else []
        return next(((key, value) for key, value in inner if key.value == "hosts"), (None, None))

    def _place(self, group: str, name: str) -> tuple[int, int, int]:
        """First line of a host with the comment above it, the line after its last one, and its column."""
        _, hosts = self._hosts(group)
        assert isinstance(hosts, yaml.MappingNode)
        key = next(key for key, _ in hosts.value if key.value == name)
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
