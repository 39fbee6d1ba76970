"""Show a run of Ansible as a person reads it: one line per step, with its time.

It owns what is printed, the progress line of a long task, and the pause that `--watch` asks for; where a run
can be resumed is `resume`'s.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: steps
type: stdout
short_description: One line per step
description: Prints each task that changed something or took a while, with its time and progress.
"""

SHOW_PROGRESS_AFTER_S = 2.0
"""A task is shown as running after this long; a quicker one is only counted."""
LOG_INTERVAL_S = 15.0
"""Time between two progress lines where there is no terminal to redraw one on."""
POLL_S = 0.5
"""Time between two looks at the progress file."""
TAIL_BYTES = 4096
"""How much of the progress file's end is read; a line is shorter."""

HINTS = (
    (
        "Incorrect sudo password",
        "sudo on this machine did not take the password, and nothing was done there. Run the same command "
        "again with --ask-become-pass, and give the password of the user who logs in.",
    ),
    (
        "Missing sudo password",
        "sudo on this machine asks for a password. Run the same command again with --ask-become-pass.",
    ),
    (
        "not in the sudoers file",
        "The user who logs in may not use sudo there. As root on that machine: adduser USER sudo.",
    ),
    (
        "sudo: not found",
        "There is no sudo on this machine. As root there: apt install sudo, then adduser USER sudo; "
        "or name root as its ansible_user in the inventory.",
    ),
    (
        r"Unable to (?:re|re-)?(?:start|load) service (\S+?)(?:\.service)?[:,]",
        r"systemd started \1 and it ended. On this machine, what it said last: journalctl -u \1 -n 30; "
        r"why systemd gave up: systemctl status \1.",
    ),
    (
        r"(?:Could not get lock|lock was locked by|Failed to lock apt)",
        "Another program on this machine is installing packages (ps -e shows it: apt, dpkg, "
        "unattended-upgr). "
        "When it has ended, run the same command again.",
    ),
    (
        r"dpkg was interrupted",
        "An installation on this machine was broken off. As root there: dpkg --configure -a, "
        "then the same command again.",
    ),
    (
        r"(?:Unable to fetch some archives|Failed to fetch|Failed to update apt cache)",
        "Debian's packages cannot be fetched. On this machine, as root: apt-get update says which source "
        "does not answer; see /etc/apt/sources.list.d, the network, and the proxy (http_proxy, "
        "/etc/apt/apt.conf.d).",
    ),
    (
        r"No space left on device",
        "A disk of this machine is full: df -h says which; ./bootstrap.sh --system-cleanup frees what can be "
        "had again.",
    ),
    (
        r"(?:failed to execute|exec:?) (\S+): Permission denied",
        r"Its user cannot run \1: each folder of that path must be open to it (namei -l \1), and "
        r"not on a disk "
        r"that is mounted noexec (findmnt -T \1).",
    ),
)
"""What to do about what a program says, by a pattern of its words; its groups are part of the answer."""


def last_line(path: Path) -> str:
    """The last line with anything in it, "" for none; a carriage return starts a line too."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def failure_text(result: dict[str, Any]) -> str:
    """What went wrong, in the words of the program that failed."""
    parts = [str(result[key]).strip() for key in ("msg", "stderr", "stdout") if result.get(key)]
    for item in result.get("results", []):
        if item.get("failed"):
            parts.append(failure_text(item))
    text = "\n".join(dict.fromkeys(parts)) or "It failed and said nothing."
    found = [(re.search(words, text), hint) for words, hint in HINTS]
    hints = [match.expand(hint) for match, hint in found if match]
    return "\n".join([text, *(hint for hint in hints if hint not in text)])


def roles_around(task: Any) -> set[str]:
    """Names of the roles that a task is part of: its own, and those that have included it."""
    found = set()
    part = task
    while part is not None:
        # noinspection PyProtectedMember
        role = getattr(part, "_role", None)
        if role is not None:
            found.add(role.get_name())
        # noinspection PyProtectedMember
        part = getattr(part, "_parent", None)
    return found


class CallbackModule(CallbackBase):
    """The stdout callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "steps"

    def __init__(self) -> None:
        super().__init__()
        # bootstrap.sh has been at work before, and its clock goes on here.
        self._begun_s = time.monotonic() - float(os.environ.get("TWIN_ELAPSED_S", "0"))
        self._task_begun_s = self._begun_s
        self._task = ""
        self._role = ""
        self._running: threading.Event | None = None
        self._progress = Path(os.environ.get("TWIN_PROGRESS_FILE", os.devnull))
        self._watch = os.environ.get("TWIN_WATCH", "")
        self._to_watch = self._watches_role = False
        self._waiting_for = ""
        self._terminal = sys.stdout.isatty()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Head the play's steps with its name."""
        self._end_task()
        self._pause(set())
        self._say(f"-- {play.get_name()}")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Begin a step."""
        self._end_task()
        # noinspection PyProtectedMember
        role = task._role.get_name() if task._role else ""
        self._pause(roles_around(task))
        self._task, self._role = task.get_name().split(" : ")[-1], role
        if self._watch and self._watch in (self._task, role):
            self._to_watch, self._watches_role = True, self._watch == role
        self._waiting_for = ""
        self._task_begun_s = time.monotonic()
        if not task.action.endswith(("include_tasks", "import_tasks", "include_role", "meta")):
            self._running = threading.Event()
            threading.Thread(
                target=self._show_progress, args=(self._task, self._running), daemon=True
            ).start()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Begin a step that a change made necessary."""
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Say what changed, and what took a while."""
        fields = result._result
        if result._task.action.endswith("debug") and "msg" in fields:
            self._note(fields["msg"])
            return
        elapsed_s = time.monotonic() - self._task_begun_s
        if fields.get("changed"):
            self._end_task()
            self._say(f"   {self._who(result)}{self._task}: done ({elapsed_s:.1f} s)")
        elif elapsed_s >= SHOW_PROGRESS_AFTER_S:
            self._end_task()
            self._say(f"   {self._who(result)}{self._task}: in order ({elapsed_s:.1f} s)")

    def v2_runner_retry(self, result: Any) -> None:
        """Remember what is still waited for."""
        checks = (result._result.get("json") or {}).get("checks") or {}
        missing = [
            f"{name}: {check.get('detail', '')}" for name, check in checks.items() if not check.get("ok")
        ]
        self._waiting_for = "; ".join(missing) or str(result._result.get("msg", ""))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Say what went wrong."""
        self._end_task()
        if not ignore_errors:
            self._say(f"   {self._who(result)}{self._task}: FAILED")
            for line in failure_text(result._result).splitlines():
                self._say(f"      {line}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Say which machine does not answer."""
        self._end_task()
        self._say(f"   {result._host.get_name()} cannot be reached: {result._result.get('msg', '')}")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Close with the numbers that tell a first run from a second."""
        self._end_task()
        self._pause(set())
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            self._say(
                f"-- {host}: ok={counts['ok']} changed={counts['changed']} failed={counts['failures']} "
                f"unreachable={counts['unreachable']}"
            )

    def _note(self, message: Any) -> None:
        """A remark; what has several lines, such as a table, stands as it is."""
        if isinstance(message, str) and "\n" in message:
            self._clear()
            self._display.display(message)
            return
        for line in message if isinstance(message, list) else [message]:
            self._say(f"   note: {line}")

    @staticmethod
    def _who(result: Any) -> str:
        """Name of the machine, where it is not the only one."""
        name = result._host.get_name()
        return "" if name == "localhost" else f"{name}: "

    def _say(self, text: str) -> None:
        elapsed_s = int(time.monotonic() - self._begun_s)
        self._clear()
        self._display.display(f"[{elapsed_s // 60:2d}:{elapsed_s % 60:02d}] {text}")
        # Ansible leaves it to the system when a pipe gets it: who is asked to press Enter would not know.
        sys.stdout.flush()

    def _clear(self) -> None:
        if self._terminal:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()

    def _end_task(self) -> None:
        if self._running is not None:
            self._running.set()
            self._running = None
            self._clear()

    def _show_progress(self, task: str, over: threading.Event) -> None:
        """Keep one line alive while the task runs; runs in a thread of its own."""
        begun_s = time.monotonic()
        shown_s = begun_s
        stale = last_line(self._progress)
        while not over.wait(POLL_S):
            now_s = time.monotonic()
            if now_s - begun_s < SHOW_PROGRESS_AFTER_S:
                continue
            line = last_line(self._progress)
            line = self._waiting_for or (line if line != stale else "")
            detail = f": {line}" if line else ""
            text = f"        ... {task}{detail} ({now_s - begun_s:.0f} s)"
            if self._terminal:
                width = shutil.get_terminal_size().columns
                sys.stdout.write("\r\x1b[K" + text[: width - 1])
                sys.stdout.flush()
            elif now_s - shown_s >= LOG_INTERVAL_S:
                shown_s = now_s
                self._display.display(text)

    def _pause(self, next_roles: set[str]) -> None:
        """Wait for Enter after the step or role that `--watch` named; a role goes on in what it includes."""
        if not self._to_watch or (self._watches_role and self._watch in next_roles):
            return
        self._to_watch = False
        self._say(f"   {self._watch} is done. Look around; Enter goes on, Ctrl-C stops here.")
        with contextlib.suppress(OSError), open("/dev/tty", encoding="utf-8") as terminal:
            terminal.readline()
