from __future__ import annotations

from pathlib import Path

import pytest

from scripts.hcl_style import faults, formatted

pytestmark = pytest.mark.integration

CANONICAL = """\
job "agent" {
  type        = "service"
  datacenters = ["home"]

  group "app" {
    count = 1

    task "serve" {
      driver = "exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "echo } {"]
      }
      template {
        data = <<EOF
  kept { as=it is
EOF
        destination = "local/x"
      }
    }
  }
}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.nomad.hcl"
    path.write_text(text)
    return path


def test_canonical_text_has_no_fault(tmp_path: Path) -> None:
    assert faults(write(tmp_path, CANONICAL)) == []


def test_what_is_written_is_canonical() -> None:
    messy = (
        CANONICAL.replace("  type        =", "type=")
        .replace("    count", "\tcount")
        .replace(" = 1\n", "=1  \n")
    )
    assert formatted(messy) == CANONICAL


def test_a_wrong_indent_names_its_line(tmp_path: Path) -> None:
    found = faults(write(tmp_path, CANONICAL.replace("    count = 1", "  count = 1")))
    assert len(found) == 1
    assert ":6: layout" in found[0]


def test_equals_signs_out_of_line_are_a_fault(tmp_path: Path) -> None:
    assert faults(write(tmp_path, CANONICAL.replace("type        =", "type =")))


def test_a_file_that_does_not_parse_is_a_fault(tmp_path: Path) -> None:
    found = faults(write(tmp_path, 'job "agent" {\n  type = \n}\n'))
    assert len(found) == 1
    assert "does not parse" in found[0]
