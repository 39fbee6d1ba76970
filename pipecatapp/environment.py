"""What has to do with the environment and must cost no time: libraries' variables, and the agent's port.

It owns what a command needs before, or instead of, all settings, whose reading takes longer than asking a
running agent; every setting, with its unit and its bounds, is `settings`'.
"""

from __future__ import annotations

import os

from pipecatapp.errors import ConfigError

DEFAULT_PORT = 8000
"""TWIN_PORT where it is not set."""

_QUIET_LIBRARIES = {
    # onnxruntime reports its use to its vendor unless it is told not to.
    "ORT_DISABLE_TELEMETRY": "1",
    # Models are fetched by `twin models`: the library that faster-whisper brings must not ask the hub.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def disable_telemetry() -> None:
    """Make the libraries of this process, and of its children, send nothing outside.

    It must be called before an engine is imported. A user's own setting is overruled.
    """
    os.environ.update(_QUIET_LIBRARIES)


def let_openmp_wait_idly() -> None:
    """Make this process's OpenMP threads sleep between two pieces of work instead of spinning.

    Spinning threads of the recogniser take the cores from the sound. It must be called before an engine is
    imported, and must not reach an LLM server, which it makes half as quick (docs/latency.md).
    """
    for name, value in {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}.items():
        os.environ.setdefault(name, value)


def own_port() -> int:
    """Return the HTTP port of this machine's agent, TWIN_PORT.

    Raises:
        ConfigError: It is no port.
    """
    given = os.environ.get("TWIN_PORT", str(DEFAULT_PORT)).strip()
    if not given.isdecimal() or not 1 <= int(given) <= 65535:
        raise ConfigError(
            "settings",
            f"TWIN_PORT={given!r}: a port is 1 to 65535.",
            hint="Correct the variable and start again.",
        )
    return int(given)
