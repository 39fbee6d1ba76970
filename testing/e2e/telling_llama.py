"""llama.cpp's server from the wheel as the agent runs it, but each answer tells the grammar that bound it.

Run as `python -m testing.e2e.telling_llama`, with the arguments of
`pipecatapp.adapters.llm.xllamacpp_server`.
"""

from __future__ import annotations

import argparse
import sys
from types import ModuleType
from typing import Any

from pipecatapp.adapters.llm import xllamacpp_server

TELLING = 10
"""From this verbosity on an answer has `__verbose` (tools/server/server-task.cpp)."""


def main() -> int:
    """Serve until told to end; return the exit status."""
    plain = xllamacpp_server._parameters

    def telling(xllamacpp: ModuleType, options: argparse.Namespace) -> object:
        parameters: Any = plain(xllamacpp, options)
        parameters.verbosity = TELLING
        return parameters

    xllamacpp_server._parameters = telling
    return xllamacpp_server.main()


if __name__ == "__main__":
    sys.exit(main())
