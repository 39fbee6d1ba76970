"""ONNX Runtime sessions for small models beside a live call.

It owns how sessions are set up; the models are their adapters' business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipecatapp.errors import AdapterError


def open_session(model: Path, *, threads: int, spin: bool = False) -> Any:
    """Return an inference session on the CPU.

    Args:
        model: ONNX file.
        threads: CPU threads, > 0.
        spin: Let idle threads burn their core; quicker alone, harmful beside other engines.

    Raises:
        AdapterError: The package or the file is missing or does not work.
    """
    try:
        import onnxruntime
    except ImportError as exc:
        raise AdapterError(
            "engine-missing", "onnxruntime is not installed", hint="pip install 'twin[voice]'"
        ) from exc
    if not model.is_file():
        raise AdapterError(
            "model-missing", f"there is no model {model}", hint=f"twin models fetch {model.parent.name}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except onnx_errors() as exc:
        raise AdapterError("engine-failed", f"{model.name} does not load: {exc}") from exc


def onnx_errors() -> tuple[type[Exception], ...]:
    """Return what the runtime raises: its errors share no class but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (
        value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)
    )
    return (*own, OSError, RuntimeError, ValueError)
