"""Promises of the Python code: shape of modules, sizes, who may read the environment or catch everything.

It owns what ruff, mypy and import-linter cannot say.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from verification.repo.tree import REPO, matching, report, syntax_of, text_of

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): the first test of a run reads and parses every file."""

MAX_LINES = 600
"""Longest module (lines)."""

MAX_POSITIONAL_FIELDS = 4
"""Fields of a dataclass that may be given by position; nobody knows the order of more."""

PRODUCT = ("pipecatapp/**/*.py", "prompt_engineering/**/*.py", "reflection/**/*.py")
ALL = (*PRODUCT, "scripts/**/*.py", "ansible/**/*.py", "testing/**/*.py", "verification/**/*.py")
DESCRIBED = (*PRODUCT, "scripts/**/*.py", "ansible/**/*.py", "verification/**/*.py")

ENVIRONMENT_READERS = (Path("pipecatapp/settings.py"), Path("pipecatapp/environment.py"))

CATCHERS = {
    Path("pipecatapp/agent/turn.py"): "turn boundary",
    Path("pipecatapp/web/sockets.py"): "websocket boundary",
}
"""Where anything may be caught, once each; a handler that ends by raising the same again is free.

A supervisor of tasks is the third place where it would be right; there is none yet."""


def docstring_fault(tree: ast.Module) -> str:
    """Return what is wrong with a module's docstring, or ""."""
    text = ast.get_docstring(tree)
    if not text:
        return "has no docstring"
    first, _, rest = text.partition("\n\n")
    if "\n" in first or not first.rstrip().endswith((".", ":")):
        return "its docstring's first paragraph is not one line and one sentence"
    if not rest.strip():
        return "its docstring does not say what the module owns"
    return ""


def broad_handlers(tree: ast.Module) -> list[int]:
    """Return the lines of handlers that catch everything and do not raise it again."""

    def names(node: ast.expr | None) -> set[str]:
        if node is None:
            return {"BaseException"}
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        return {part.id for part in parts if isinstance(part, ast.Name)}

    def raises_again(handler: ast.ExceptHandler) -> bool:
        last = handler.body[-1]
        return isinstance(last, ast.Raise) and last.exc is None

    found = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and names(node.type) & {"Exception", "BaseException"}
        and not raises_again(node)
    ]
    suppressors = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"suppress", "contextlib.suppress"}
        and {ast.unparse(argument) for argument in node.args} & {"Exception", "BaseException"}
    ]
    return sorted(found + suppressors)


def environment_uses(tree: ast.Module) -> list[int]:
    """Return the lines that read or write the process's environment."""
    names = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Attribute)
            and node.attr in names
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {alias.name for alias in node.names} & names
        )
    ]


def wide_dataclasses(tree: ast.Module) -> list[tuple[int, str]]:
    """Return the lines and names of dataclasses with many fields that may be given by position."""
    return [
        (node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator).removeprefix("dataclasses.").startswith("dataclass")
        and "kw_only=True" not in ast.unparse(decorator)
        and sum(map(_is_field, node.body)) > MAX_POSITIONAL_FIELDS
    ]


def _is_field(statement: ast.stmt) -> bool:
    """Return whether a statement of a dataclass's body is an argument of its `__init__`."""
    if not isinstance(statement, ast.AnnAssign) or "ClassVar" in ast.unparse(statement.annotation):
        return False
    value = statement.value
    return not (
        isinstance(value, ast.Call)
        and any(ast.unparse(keyword) in ("init=False", "kw_only=True") for keyword in value.keywords)
    )


def test_modules_say_in_a_sentence_what_they_are_and_then_what_they_own() -> None:
    found = [(path, docstring_fault(syntax_of(path))) for path in matching(*DESCRIBED)]
    faults = [f"{path} {fault}" for path, fault in found if fault]
    assert not faults, report(faults)


def test_no_module_is_too_long() -> None:
    lengths = [(path, len((text_of(path) or "").splitlines())) for path in matching(*ALL)]
    faults = [
        f"{path} has {length} lines, {MAX_LINES} at most" for path, length in lengths if length > MAX_LINES
    ]
    assert not faults, report(faults)


def test_nobody_changes_the_import_path() -> None:
    faults = [
        f"{path}:{node.lineno} uses sys.{node.attr}"
        for path in matching(*ALL)
        for node in ast.walk(syntax_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr == "path"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    ]
    assert not faults, report(faults)


def test_only_settings_reads_the_environment() -> None:
    faults = [
        f"{path}:{line} uses the environment; that is for {' and '.join(map(str, ENVIRONMENT_READERS))}"
        for path in matching(*PRODUCT)
        if path not in ENVIRONMENT_READERS
        for line in environment_uses(syntax_of(path))
    ]
    assert not faults, report(faults)


def test_everything_is_caught_at_boundaries_only() -> None:
    faults = []
    for path in matching(*PRODUCT, "scripts/**/*.py"):
        lines = broad_handlers(syntax_of(path))
        allowed = 1 if path in CATCHERS else 0
        faults += [
            f"{path}:{line} catches everything; only {sorted(CATCHERS.values())} may"
            for line in lines[allowed:]
        ]
    assert not faults, report(faults)


def test_wide_dataclasses_are_made_by_keyword() -> None:
    faults = [
        f"{path}:{line} {name} has more than {MAX_POSITIONAL_FIELDS} fields: kw_only=True"
        for path in matching("pipecatapp/**/*.py")
        for line, name in wide_dataclasses(syntax_of(path))
    ]
    assert not faults, report(faults)


def test_packages_have_an_init_file() -> None:
    folders = {path.parent for path in matching("pipecatapp/**/*.py")}
    faults = [
        f"{folder} has no __init__.py"
        for folder in sorted(folders)
        if not (REPO / folder / "__init__.py").is_file()
    ]
    assert not faults, report(faults)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1", "has no docstring"),
        ('"""Does a thing."""', "does not say what the module owns"),
        ('"""Does a\nthing.\n\nIt owns it."""', "not one line"),
        ('"""Does a thing.\n\nIt owns it."""', ""),
    ],
)
def test_the_docstring_check_sees_each_fault(source: str, fault: str) -> None:
    found = docstring_fault(ast.parse(source))
    assert fault in found if fault else found == ""


@pytest.mark.parametrize(
    ("handler", "is_found"),
    [
        ("except Exception: pass", True),
        ("except: pass", True),
        ("except (ValueError, Exception) as exc: raise OSError from exc", True),
        ("except BaseException:\n  close()\n  raise", False),
        ("except ValueError: pass", False),
    ],
)
def test_the_catch_check_knows_cleaning_up_from_swallowing(handler: str, is_found: bool) -> None:
    assert bool(broad_handlers(ast.parse(f"try: x()\n{handler}"))) is is_found


def test_the_catch_check_sees_suppress() -> None:
    assert broad_handlers(ast.parse("with contextlib.suppress(Exception): x()")) == [1]


@pytest.mark.parametrize("source", ["os.environ['A']", "os.getenv('A')", "from os import environ"])
def test_the_environment_check_sees_each_way(source: str) -> None:
    assert environment_uses(ast.parse(source)) == [1]


WIDE = "  a: int\n  b: int\n  c: int\n  d: int\n  e: int"


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        (f"@dataclass\nclass A:\n{WIDE}", True),
        (f"@dataclasses.dataclass(frozen=True)\nclass A:\n{WIDE} = 0", True),
        (f"@dataclass(frozen=True, kw_only=True)\nclass A:\n{WIDE}", False),
        (f"@dataclass\nclass A:\n{WIDE} = field(init=False)", False),
        (f"@dataclass\nclass A:\n{WIDE.replace('e: int', 'e: ClassVar[int] = 1')}", False),
        (f"class A:\n{WIDE}", False),
    ],
)
def test_the_dataclass_check_counts_what_may_be_given_by_position(source: str, is_found: bool) -> None:
    assert bool(wide_dataclasses(ast.parse(source))) is is_found
