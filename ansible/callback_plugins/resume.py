"""Write down which plays are complete, so that `./bootstrap.sh --continue` knows where to go on.

It owns the lines `done NAME` in the state file; reading them is bootstrap.sh's.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: resume
type: notification
short_description: Write down which plays are complete
description: Appends a line to the file that TWIN_STATE_FILE names for each play that ended well.
"""


class CallbackModule(CallbackBase):
    """The notification callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "resume"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path = os.environ.get("TWIN_STATE_FILE", "")
        self._play = ""
        self._failed = False

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """The play before is complete."""
        self._complete()
        self._play = play.get_name().lower()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The play is not complete."""
        self._failed = self._failed or not ignore_errors

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The play is not complete."""
        self._failed = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The last play is complete."""
        self._complete()

    def _complete(self) -> None:
        if self._path and self._play and not self._failed:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(f"done {self._play}\n")
        self._play = ""
