"""The suites: how their file is read, what a pattern means, and when a suite's inputs have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.run.suites import Suite, digest, is_among, read

pytestmark = pytest.mark.unit

FILE = """
checked: [docs]
groups:
  product: [agent, "!*.md"]
suites:
  check: {set: base, is: linters, inputs: ["*"]}
  unit: {set: base, is: quick, inputs: [+product, tests/unit]}
  role: {set: full, is: roles, each: "roles/*", inputs: [+product, "{each}"], needs: [images], alone: true}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (
        "roles/consul/a.yaml",
        "roles/nomad/b.yaml",
        "agent/main.py",
        "agent/README.md",
        "agent/run",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    (tmp_path / "suites.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def paths(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "patterns", "wanted"),
    [
        ("agent/main.py", ["agent"], True),
        ("agents/main.py", ["agent"], False),
        ("agent/web/page.md", ["agent", "!*.md"], False),
        ("agent/web/page.md", ["agent", "!*.md", "agent/web/page.md"], True),
        ("roles/x/molecule/default/verify.yaml", ["roles", "!roles/*/molecule/*"], False),
        ("anything", ["*"], True),
    ],
)
def test_a_pattern_is_a_file_a_folder_or_a_glob_and_the_last_one_counts(
    path: str, patterns: list[str], wanted: bool
) -> None:
    assert is_among(path, patterns) is wanted


def test_one_suite_for_each_folder_is_named_after_it_and_depends_on_it(checkout: Path) -> None:
    suites = read(checkout / "suites.yaml", checkout)

    assert list(suites.suites) == ["check", "unit", "role/consul", "role/nomad"]
    consul = suites.suites["role/consul"]
    assert consul.matches("roles/consul/a.yaml")
    assert not consul.matches("roles/nomad/b.yaml")
    assert consul.is_alone and consul.needs == ("images",) and consul.set == "full"
    assert consul.command[1:] == ["role", "--", "consul"]


def test_what_a_change_touches_is_what_depends_on_it(checkout: Path) -> None:
    suites = read(checkout / "suites.yaml", checkout)

    assert [suite.name for suite in suites.touched_by(["roles/nomad/b.yaml"])] == ["check", "role/nomad"]
    assert [suite.name for suite in suites.touched_by(["docs/a.md"])] == ["check"]
    assert suites.touched_by([]) == []


def test_a_file_that_only_the_linters_read_has_to_be_named(checkout: Path) -> None:
    suites = read(checkout / "suites.yaml", checkout)

    assert suites.without_a_suite(["docs/a.md", "agent/main.py", "lonely.txt"]) == ["lonely.txt"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("unit: {set: base, is: x, inputs: [a], need: [b]}", "unit: unknown key need; known: alone, each"),
        ("unit: {set: quick, is: x, inputs: [a]}", "set is 'quick'; known: base, full"),
        ("unit: {set: base, is: x, inputs: [+oops]}", r"no group \+oops; known: product"),
    ],
)
def test_a_fault_of_the_file_is_named_with_what_is_valid(checkout: Path, line: str, fault: str) -> None:
    text = f"groups: {{product: [agent]}}\nsuites:\n  {line}\n"
    (checkout / "suites.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        read(checkout / "suites.yaml", checkout)


def test_the_digest_changes_with_contents_names_and_modes_of_inputs_and_with_nothing_else(
    checkout: Path,
) -> None:
    suite = Suite("unit", "full", "x", ("agent", "!*.md"))
    before = digest(suite, checkout, paths(checkout))

    (checkout / "agent/README.md").write_text("other", encoding="utf-8")
    (checkout / "roles/consul/a.yaml").write_text("other", encoding="utf-8")
    assert digest(suite, checkout, paths(checkout)) == before

    (checkout / "agent/run").chmod(0o755)
    runnable = digest(suite, checkout, paths(checkout))
    (checkout / "agent/main.py").write_text("other", encoding="utf-8")
    changed = digest(suite, checkout, paths(checkout))
    (checkout / "agent/main.py").rename(checkout / "agent/other.py")
    renamed = digest(suite, checkout, paths(checkout))
    assert len({before, runnable, changed, renamed}) == 4
