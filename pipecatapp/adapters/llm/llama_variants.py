"""Which of llama.cpp's CPU libraries this machine can run, and a folder of programs that has only that one.

A build has a `libggml-cpu-*.so` for each generation of CPUs. Every program loads the one with the highest
score from the folder that it lies in, links followed (ggml/src/ggml-backend-reg.cpp,
`ggml_backend_load_best`), and the score asks CPUID alone: "this does not check for OS support"
(ggml-cpu/arch/x86/cpu-feats.cpp). So the library that would be picked computes a real token in a child
first; where it dies, the machine gets a folder of its own, with the programs, links to the other libraries,
and the best one that did not die. The build itself stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pipecatapp.adapters.host.child_trial import Ending, run_child
from pipecatapp.adapters.host.trial_results import Outcome, TrialResults, make_folder
from pipecatapp.errors import AdapterError

log = logging.getLogger(__name__)

BENCH = "llama-bench"
"""The program of a trial: it reads and writes tokens, and ends."""
VARIANTS = "libggml-cpu-*.so"
PROMPT_TOKENS = 33
"""A prompt of one token more than a block of AMX has rows (2 * TILE_M, ggml-cpu/amx/common.h), so that whole
blocks and the rest are computed. Writing tokens one by one reaches none of it: one row goes to AVX-512
(amx/mmq.cpp)."""
WRITTEN_TOKENS = 2
SUBJECT = "llama.cpp in "
"""How the name of a trial begins; the folder of the build follows."""
MARK = "fitted.json"
"""File in a machine's own folder that says what it was made from."""

# A program of its own, for a library may die while it is loaded.
_SCORE = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).ggml_backend_score())"


class Mark(BaseModel):
    """What a machine's own folder was made from.

    Args:
        origin: Folder of the build.
        build: What it consisted of.
        machine: CPU and kernel that it is for.
        uses: The CPU library in it.
        set_aside: Those that are not, and why.
    """

    origin: Path
    build: str
    machine: str
    uses: str
    set_aside: dict[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """llama.cpp's programs in a folder.

    Args:
        folder: Where they and their libraries lie.
        key: Changes with any of them.
    """

    folder: Path
    key: str

    @property
    def subject(self) -> str:
        """What a trial of it is called."""
        return f"{SUBJECT}{self.folder}"


def is_of_a_build_here(subject: str, outcome: Outcome) -> bool:
    """Whether an outcome is of a build of llama.cpp that is still there as it was tried."""
    folder = subject.removeprefix(SUBJECT)
    return folder != subject and build_of(Path(folder) / BENCH).key == outcome.build


def build_of(program: Path) -> Build:
    """Return the build that a program belongs to, links and a machine's own folder followed back to it."""
    folder = program.resolve().parent
    mark = _mark(folder)
    folder = mark.origin if mark else folder
    parts = []
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            facts = path.stat()
            parts.append(f"{path.name} {facts.st_size} {facts.st_mtime_ns}")
    return Build(folder, hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12])


class LlamaVariants:
    """Programs of llama.cpp as this machine can run them.

    Args:
        results: What was tried before.
    """

    def __init__(self, results: TrialResults) -> None:
        self._results = results

    def fitted(self, program: Path, model: Path | None = None) -> Path:
        """Return the program to run in the place of `program`; what was not tried yet is tried now.

        Args:
            program: A program of a build, or of a machine's own folder.
            model: GGUF file to try with; nothing is tried when None.

        Raises:
            AdapterError: No CPU library of the build works here, or the machine's own folder cannot be made.
        """
        build = build_of(program)
        mark = _mark(program.resolve().parent)
        doubted = bool(self._results.outcomes().get(build.subject, Outcome(build="")).doubt)
        if mark and not doubted and (mark.build, mark.machine) == (build.key, self._results.key):
            if self._results.recall(build.subject, build.key) is None:
                # Made by another user, such as root: what it found is told here too.
                made = Outcome(build=build.key, set_aside=mark.set_aside, uses=mark.uses)
                self._results.keep(build.subject, made)
            return program.resolve()
        outcome = self._results.recall(build.subject, build.key)
        if outcome is None and model is not None:
            with self._results.one_at_a_time():
                outcome = self._results.recall(build.subject, build.key) or self._try(build, model)
        if outcome is None:
            return build.folder / program.name
        if outcome.reason:
            raise AdapterError(
                "cpu-fault",
                outcome.reason,
                hint="If the model and the build are whole (twin models verify, twin artifacts verify), this "
                "CPU cannot run it: use another machine, or LLM_BASE_URL. To try anew: twin trials --again",
            )
        folder = self._laid_out(build, outcome) if outcome.uses else build.folder
        return folder / program.name

    def set_aside(self, program: Path) -> dict[str, str]:
        """Return the CPU libraries of a program's build that this machine does not use, and why."""
        mark = _mark(program.resolve().parent)
        if mark is not None and mark.machine == self._results.key:
            return mark.set_aside
        build = build_of(program)
        outcome = self._results.recall(build.subject, build.key)
        return outcome.set_aside if outcome else {}

    def doubt(self, program: Path, how: str) -> None:
        """Have the build of a program tried anew, for it died when it served."""
        self._results.doubt(build_of(program).subject, how)

    def _try(self, build: Build, model: Path) -> Outcome | None:
        """Return what came of it, None when the trial showed nothing about this CPU."""
        log.info(
            "Trying llama.cpp once on this CPU", extra={"folder": str(build.folder), "model": model.name}
        )
        ending = _compute(build.folder, model)
        if ending.is_well:
            outcome = Outcome(build=build.key)
        elif ending.fault:
            outcome = self._best_that_lives(build, model)
        else:
            log.warning("llama.cpp could not be tried", extra={"ending": ending.words})
            return None
        if outcome.reason:
            # Even plain x86-64 died: of the model rather than of the CPU, and another one may work.
            return outcome
        self._results.keep(build.subject, outcome)
        for name, why in outcome.set_aside.items():
            log.warning("A library of llama.cpp is set aside", extra={"library": name, "reason": why})
        return outcome

    def _best_that_lives(self, build: Build, model: Path) -> Outcome:
        died: dict[str, str] = {}
        scores: dict[str, int] = {}
        for library in sorted(build.folder.glob(VARIANTS)):
            loaded = run_child([sys.executable, "-I", "-S", "-c", _SCORE, str(library)])
            if loaded.fault:
                died[library.name] = f"when it was loaded it ended by {loaded.fault}"
            elif loaded.is_well and int(loaded.output) > 0:
                scores[library.name] = int(loaded.output)
        for name in sorted(scores, key=lambda name: -scores[name]):
            outcome = Outcome(build=build.key, set_aside=dict(died), uses=name)
            ending = _compute(self._laid_out(build, outcome), model)
            if ending.is_well:
                return outcome
            died[name] = f"when it computed a token it ended by {ending.fault or ending.words}"
        told = (
            "; ".join(f"{name}: {why}" for name, why in died.items()) or "it has no CPU library for this CPU"
        )
        return Outcome(
            build=build.key, reason=f"llama.cpp in {build.folder} does not work on this CPU: {told}"
        )

    def _laid_out(self, build: Build, outcome: Outcome) -> Path:
        """Return this machine's own folder of the build, made where it is not there.

        Raises:
            AdapterError: It cannot be made.
        """
        folder = self._results.folder / f"llama.cpp-{build.key}"
        mark = Mark(
            origin=build.folder,
            build=build.key,
            machine=self._results.key,
            uses=outcome.uses,
            set_aside=outcome.set_aside,
        )
        if _mark(folder) == mark:
            return folder
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            make_folder(draft)
            _fill(draft, mark)
            shutil.rmtree(folder, ignore_errors=True)
            draft.replace(folder)
        except OSError as exc:
            raise AdapterError(
                "not-writable",
                f"{folder}, for llama.cpp without what dies here, cannot be made: {exc.strerror}",
                hint="Give the user that runs it a TWIN_CACHE_DIR to write to.",
            ) from exc
        return folder


def _compute(folder: Path, model: Path) -> Ending:
    """Read and write a few tokens with what lies in a folder."""
    threads = min(2, len(os.sched_getaffinity(0)))
    command = [str(folder / BENCH), "-m", str(model), "-p", str(PROMPT_TOKENS), "-n", str(WRITTEN_TOKENS)]
    command += ["-r", "1", "-t", str(threads), "--no-warmup", "-o", "json"]
    # The working folder is searched for libraries too.
    return run_child(command, environment={"GGML_NO_BACKTRACE": "1"}, folder=str(folder))


def _fill(folder: Path, mark: Mark) -> None:
    """Put the programs and libraries of a build into a folder, with one CPU library."""
    for path in mark.origin.iterdir():
        if path.match(VARIANTS) and path.name != mark.uses:
            continue
        if ".so" in path.suffixes:
            (folder / path.name).symlink_to(path)
        else:
            _put(path, folder / path.name)
    (folder / MARK).write_text(mark.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _put(program: Path, place: Path) -> None:
    """Have a program in another folder: a link to its bytes, else a copy; it looks where that is."""
    try:
        os.link(program.resolve(), place)
    except OSError:
        shutil.copy2(program, place)


def _mark(folder: Path) -> Mark | None:
    try:
        return Mark.model_validate_json((folder / MARK).read_bytes())
    except (OSError, ValidationError):
        return None
