"""One thing of each kind is added to a copy of the checkout: by which files, and that the checks take it.

It owns the examples; docs/design/adding.md tells them to people.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testing.unit.repo.added_tree import AddedTree

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): each example copies the checkout and starts Python."""


@pytest.fixture
def tree(tmp_path: Path) -> AddedTree:
    return AddedTree(tmp_path / "tree")


BEEPER = '''\
"""A recogniser that counts the seconds of a tone.

Not here: recognising words.
"""

from __future__ import annotations

import numpy as np

from pipecatapp.adapters.audio.pcm import to_float
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import SPEECH_RATE_HZ

LOUD = 0.1
"""Level of a tone (of full scale)."""
BLOCK = 160
"""Samples that are judged at once."""


class BeeperStt:
    """It says "beep" for each second of sound."""

    def __init__(self) -> None:
        self._is_closed = False

    @property
    def name(self) -> str:
        """Engine and model."""
        return "beeper"

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Count."""
        if self._is_closed:
            raise AdapterError("engine-closed", "the beeper is closed")
        samples = to_float(pcm)
        blocks = np.abs(samples[: len(samples) // BLOCK * BLOCK]).reshape(-1, BLOCK)
        loud = int((blocks > LOUD).any(axis=1).sum()) * BLOCK / SPEECH_RATE_HZ
        return Transcript(" ".join(["beep"] * round(loud)))

    async def close(self) -> None:
        """Refuse from now on."""
        self._is_closed = True
'''
BEEPER_LOADER = """\
async def _beeper(_options: EngineOptions) -> SpeechToText:
    from pipecatapp.adapters.stt.beeper import BeeperStt

    return BeeperStt()


"""
BEEPER_ENTRY = """\
    "beeper": SttEngine(
        label="the beeper",
        title="counts the seconds of a tone",
        load=_beeper,
    ),
"""
BEEPER_TEST = '''\
"""The beeper passes its port's suite."""

from __future__ import annotations

import numpy as np
import pytest

from pipecatapp.adapters.stt.beeper import BeeperStt
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.engines import pick_stt
from pipecatapp.app.models import model_store
from pipecatapp.adapters.host.cpu import read_cpu
from testing.conformance.stt_suite import SttSuite, Utterance

pytestmark = pytest.mark.integration


class TestBeeper(SttSuite):
    @pytest.fixture
    def stt(self) -> BeeperStt:
        return BeeperStt()

    @pytest.fixture
    def spoken(self) -> list[Utterance]:
        tone = (9000 * np.sin(np.arange(3 * 16_000) * 0.1)).astype("<i2").tobytes()
        return [Utterance(tone, "beep beep beep")]

    def long_speech(self) -> list[Utterance]:
        return []


async def test_the_setting_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_SERVICE", "beeper")
    settings = load_settings()
    picked = await pick_stt(settings, model_store(settings), read_cpu())
    assert picked.reason == "beeper, because STT_SERVICE=beeper"
'''


def test_a_speech_to_text_engine_is_an_adapter_with_its_entry_and_a_subclass_of_the_suite(
    tree: AddedTree,
) -> None:
    table = "pipecatapp/adapters/stt/engines.py"
    adapter, test = "pipecatapp/adapters/stt/beeper.py", "testing/integration/adapters/stt/test_beeper.py"
    tree.add({adapter: BEEPER, test: BEEPER_TEST})
    tree.change(table, "ENGINES: Mapping", BEEPER_LOADER)
    tree.change(table, '}\n"""By the names of STT_SERVICE', BEEPER_ENTRY)
    stale = tree.check("verification/repo/test_engines.py", test, "testing/unit/app/test_engines.py")
    assert stale == ["engines.md", "settings.md"]
    assert tree.touched() == {
        adapter,
        table,
        test,
        "docs/reference/engines.md",
        "docs/reference/settings.md",
    }
    linted = tree.run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert linted.returncode == 0, linted.stdout


DICE = '''\
"""The tool that rolls a die.

It owns the roll; who asks for one is the router's to know.
"""

from __future__ import annotations

import random

from pipecatapp.ports import ToolResult
from pipecatapp.tools.base import ToolFunction, tool


@tool(
    examples=(
        "Roll a die",
        "Roll the dice for me",
        "Throw a die please",
        "Give me a roll of the die",
        "Cast a die",
        "Would you roll a die for us",
    )
)
def dice(sides: int = 6) -> ToolFunction:
    """Return the tool.

    Args:
        sides: Of the die, > 0.
    """

    async def execute() -> ToolResult:
        """Roll a die."""
        rolled = f"I rolled a {random.randint(1, sides)} of {sides}."
        return ToolResult(True, rolled, speech=rolled)

    return execute
'''
DICE_TEST = '''\
"""The tool that rolls a die."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.errors import ConfigError
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from testing.fakes.fake_clock import FakeClock

pytestmark = pytest.mark.unit


def box(**options: object) -> LocalToolBox:
    given = {"dice": options} if options else {}
    return LocalToolBox(
        shipped_tools(ToolDependencies(system_clock=FakeClock(), search_dir=Path(), options=given))
    )


@pytest.mark.parametrize(("options", "sides"), [({}, 6), ({"sides": 20}, 20)])
async def test_its_sides_are_an_option(options: dict[str, int], sides: int) -> None:
    result = await box(**options).call("dice", {}, session_id="s")
    assert result.speech.endswith(f" of {sides}.")


def test_a_wrong_option_is_told() -> None:
    with pytest.raises(ConfigError, match="TWIN_TOOL_OPTIONS: dice.sides: Input should be a valid integer"):
        box(sides="many")
'''


def test_a_tool_with_an_option_is_one_file_and_its_test(tree: AddedTree) -> None:
    files = {"pipecatapp/tools/dice_tool.py": DICE, "testing/unit/tools/test_dice_tool.py": DICE_TEST}
    tree.add(files)
    stale = tree.check("testing/unit/tools/test_dice_tool.py", "testing/unit/tools/test_registry.py",
                       "verification/repo/test_units.py")  # fmt: skip
    assert stale == []
    assert tree.touched() == set(files)


def test_a_setting_is_a_field(tree: AddedTree) -> None:
    tree.change(
        "pipecatapp/settings.py",
        "    # Speaking\n",
        '    stt_patience_s: float = Field(2.5, alias="STT_PATIENCE_S", gt=0, le=60)\n'
        '    """Longest wait for a transcript (seconds)."""\n\n',
    )
    assert tree.check("testing/unit/test_settings.py") == ["settings.md"]
    assert tree.touched() == {"pipecatapp/settings.py", "docs/reference/settings.md"}
    page = (tree.folder / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert "| `STT_PATIENCE_S` | `2.5` | > 0, <= 60 | Longest wait for a transcript (seconds). |" in page


def role(name: str, run: str) -> dict[str, str]:
    """The files of a role that has one variable and one step."""
    folder = f"ansible/roles/{name}"
    verify = (
        "---\n- name: Verify\n  hosts: controller_nodes\n  become: true\n  tasks:\n"
        "    - name: It is as it should be\n      ansible.builtin.assert:\n        that: true\n"
    )
    scenario = "---\n# A machine with nothing on it.\nplatforms: [{name: node-11, image: bare}]\n"
    return {
        f"{folder}/README.md": f"# {name}\n\nAn example.\n",
        f"{folder}/defaults/main.yaml": f"---\n{name}_pause_s: 5\n",
        f"{folder}/meta/argument_specs.yml": (
            "---\nargument_specs:\n  main:\n    short_description: Be an example\n    options:\n"
            f"      {name}_pause_s: {{type: int, default: 5, description: Time between two (seconds).}}\n"
        ),
        f"{folder}/tasks/main.yaml": (
            f"---\n- name: Run\n  ansible.builtin.import_tasks: run.yaml\n  tags: [{name}_run]\n"
        ),
        f"{folder}/tasks/run.yaml": run,
        f"{folder}/molecule/default/molecule.yml": scenario,
        f"{folder}/molecule/default/verify.yaml": verify,
        f"{folder}/molecule/alternative/molecule.yml": scenario,
        f"{folder}/molecule/alternative/verify.yaml": verify,
    }


SAY = "---\n- name: Say it\n  ansible.builtin.debug:\n    msg: An example\n"


def test_a_role_is_its_folder(tree: AddedTree) -> None:
    files = role("doorbell", SAY)
    tree.add(files)
    checks = ("verification/repo/test_roles.py", "verification/repo/test_suites.py")
    stale = tree.check(*checks, "-k", "doorbell or every_file")
    assert stale == ["roles.md"]
    assert tree.touched() == {*files, "docs/reference/roles.md"}


JOB = """\
# Shows the weather on a page of its own.
# House ports: 8090

variable "town" {
  description = "Whose weather."
  type        = string
}

job "weather" {
  datacenters = ["twin"]

  group "weather" {
    network {
      port "http" {
        static = 8090
      }
    }

    task "weather" {
      driver = "raw_exec"

      config {
        command = "/bin/sleep"
        args    = [var.town]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
"""
RUN_JOB = """\
---
- name: Run the weather
  ansible.builtin.include_role:
    name: nomad_job
  vars:
    nomad_job_name: weather
    nomad_job_file: weather.nomad.hcl
    nomad_job_values: {town: Bonn}
"""


def test_a_nomad_job_is_its_file_and_its_role(tree: AddedTree) -> None:
    job = "ansible/jobs/weather.nomad.hcl"
    files = {job: JOB, **role("weather", RUN_JOB)}
    tree.add(files)
    checks = ("verification/repo/test_jobs.py", "verification/repo/test_roles.py")
    stale = tree.check(*checks, "-k", "weather or test_jobs")
    assert stale == ["jobs.md", "roles.md"]
    assert tree.touched() == {*files, "docs/reference/jobs.md", "docs/reference/roles.md"}
    page = (tree.folder / "docs/reference/jobs.md").read_text(encoding="utf-8")
    assert "| `weather` | service | `weather` | `http` | 8090 |" in page
    removed = tree.run("bash", "-c", "source scripts/uninstall; job_files")
    assert "weather.nomad.hcl" in removed.stdout.split()
    laid_out = tree.run(sys.executable, "scripts/hcl_style.py", job)
    assert laid_out.returncode == 0, laid_out.stdout + laid_out.stderr
