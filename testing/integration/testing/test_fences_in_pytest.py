from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

REPO = Path(__file__).parents[3]
CONFTEST = (REPO / "testing" / "conftest.py").read_text(encoding="utf-8")
HEAD = "import os, time, warnings\nimport pytest\n"


def run_pytest(folder: Path, module: str, before: str = "", **environment: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(HEAD + module)
    result = subprocess.run(
        ["bash", "-c", f'{before} exec "$@"', "bash"]
        + [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + ["-c", str(REPO / "pyproject.toml"), "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO), **environment},
        check=False,
        timeout=60,
    )
    return result.returncode, result.stdout + result.stderr


def test_a_module_without_a_marker_fails_collection_with_a_hint(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, "def test_x() -> None: pass\n")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "test_it.py" in output
    assert "pytestmark = pytest.mark.unit" in output


def test_a_module_with_two_kinds_fails_collection(tmp_path: Path) -> None:
    module = "pytestmark = [pytest.mark.unit, pytest.mark.e2e]\ndef test_x() -> None: pass\n"
    code, output = run_pytest(tmp_path, module)
    assert code == pytest.ExitCode.USAGE_ERROR, output


def test_a_warning_is_a_failure(tmp_path: Path) -> None:
    module = "pytestmark = pytest.mark.unit\ndef test_x() -> None: warnings.warn('old', DeprecationWarning)\n"
    code, output = run_pytest(tmp_path, module)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "DeprecationWarning: old" in output


def test_a_test_that_names_a_limit_is_ended_by_it(tmp_path: Path) -> None:
    module = (
        "pytestmark = [pytest.mark.unit, pytest.mark.timeout(0.2)]\ndef test_x() -> None: time.sleep(30)\n"
    )
    code, output = run_pytest(tmp_path, module)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "Timeout (>0.2s)" in output


def test_integration_tests_keep_settings_and_sockets(tmp_path: Path) -> None:
    module = (
        "import socket\n"
        "pytestmark = pytest.mark.integration\n"
        "def test_x() -> None:\n"
        "    assert os.environ['TWIN_PORT'] == '8123'\n"
        "    with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "        socket.create_connection(server.getsockname()).close()\n"
    )
    code, output = run_pytest(tmp_path, module, TWIN_PORT="8123")
    assert code == pytest.ExitCode.OK, output


def test_unit_tests_lose_the_settings_of_the_machine(tmp_path: Path) -> None:
    module = "pytestmark = pytest.mark.unit\ndef test_x() -> None: assert 'TWIN_PORT' not in os.environ\n"
    code, output = run_pytest(tmp_path, module, TWIN_PORT="8123")
    assert code == pytest.ExitCode.OK, output


def test_what_a_test_starts_can_be_interrupted_although_the_shell_ignores_it(tmp_path: Path) -> None:
    module = (
        "import signal, subprocess, sys\n"
        "pytestmark = pytest.mark.integration\n"
        "def test_x() -> None:\n"
        "    asked = [sys.executable, '-c', 'import signal; print(signal.getsignal(signal.SIGINT))']\n"
        "    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout\n"
        "    assert 'default_int_handler' in said\n"
    )
    code, output = run_pytest(tmp_path, module, before="trap '' INT;")
    assert code == pytest.ExitCode.OK, output
