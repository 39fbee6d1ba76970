"""Whisper on CTranslate2 with a short encoder window: the embedded speech to text.

It owns decoding in a sixth of the stock time, and noticing when that went wrong. Whisper pads every
utterance to 30 seconds; a window of 10 filled with silence recognises as well, but may say a short
utterance twice or stutter, so a final transcript that looks odd is decoded again the stock way.
"""

from __future__ import annotations

import logging
import math
import re
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipecatapp.adapters.audio.pcm import Samples, to_float
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.adapters.stt.chunking import chunks
from pipecatapp.adapters.stt.whisper_model import SHORTEST_S, SILENCE_LEVEL, open_whisper, strip_noise_tags
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import SPEECH_RATE_HZ

log = logging.getLogger(__name__)

FRAMES_PER_S = 100
"""Whisper's mel frames a second: a hop of 160 samples at 16 kHz."""
FRAMES_MAX = 3000
"""Length of the encoder's position table; more is refused by CTranslate2."""
WINDOW_S = 10.0
"""Shortest window (seconds). Below 8 whole sentences are said twice; 10 errs as rarely as 30 does."""
FRAMES_STEP = 16
"""Window lengths are rounded up to this, so that few different shapes reach the library."""
MARGIN_FRAMES = 50
"""Silence after the speech, without which the last word is lost."""
TOKENS_PER_S = 5
"""Quickest speech: about 3.5 words, 5 tokens a second. Without a bound a short window loops.

Forbidding repeated n-grams instead costs words: people do say "what is the" twice in an utterance.
"""
EXTRA_TOKENS = 8
"""Room for the prompt's own tokens and for very short utterances."""
COMPRESSION_LIMIT = 2.4
"""Text that compresses better than this repeats itself (Whisper's own threshold)."""
LOGPROB_LIMIT = -1.0
"""Mean log probability a token below which a decoding is doubted (Whisper's own threshold)."""
NO_SPEECH_LIMIT = 0.6
"""Probability of "no speech" above which a doubted decoding is silence (Whisper's own threshold)."""
WORDS_PER_S_LIMIT = 6.0
"""Nobody speaks more words a second."""
BRISK_WORDS_PER_S = 3.6
"""Faster than this over a whole utterance, with its silences, only hurried people speak."""
STOCK_TEMPERATURES = (0.0, 0.4)
"""Whisper's own ladder has six; two bound the time of a hopeless recording."""
SENTENCE_WORDS = 3
"""From so many words on, a text said twice is the window's doing; fewer may be the speaker's: "no, no"."""
REMEMBERED_PIECES = 16
"""How many finished pieces of long utterances are remembered, so that interim transcripts stay quick."""

_STUTTER = re.compile(r"(?:\b|-)(\w{1,3})(?:[-, ]+\1\b){2,}", re.IGNORECASE)
"""The same short syllable three times: "y-y-y-y"."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    logprob: float
    no_speech: float


class ShortWindowWhisper:
    """Whisper with an encoder window as long as the utterance, at least `window_s`.

    Args:
        model_dir: A CTranslate2 Whisper model.
        threads: CPU threads of one decoding, > 0.
        window_s: Shortest window (seconds, 1 to 30).
        language: ISO 639-1 code of what is spoken.
    """

    def __init__(
        self, model_dir: Path, *, threads: int = 1, window_s: float = WINDOW_S, language: str = "en"
    ) -> None:
        self._model_dir = model_dir
        self._threads = threads
        self._window_frames = round(window_s * FRAMES_PER_S)
        self._language = language
        self._worker = WorkerThread("speech to text")
        self._model: Any = None
        self._tokenizer: Any = None
        self._prompt: list[int] = []
        self._pieces: OrderedDict[tuple[int, bytes], str] = OrderedDict()
        self._redecoded = 0

    @classmethod
    async def load(
        cls, model_dir: Path, *, threads: int = 1, window_s: float = WINDOW_S, language: str = "en"
    ) -> ShortWindowWhisper:
        """Return it with its model in memory and warm; the arguments are the class's.

        Raises:
            AdapterError: The package or the model is missing or does not work.
        """
        engine = cls(model_dir, threads=threads, window_s=window_s, language=language)
        await engine._worker.open(engine._open)
        return engine

    @property
    def name(self) -> str:
        """Engine and model."""
        return f"embedded ({self._model_dir.name})"

    @property
    def redecoded(self) -> int:
        """How many finals looked odd and were decoded again."""
        return self._redecoded

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far, of any length.

        Raises:
            AdapterError: The engine failed.
        """
        return Transcript(await self._worker.run(self._transcribe, pcm, final))

    async def close(self) -> None:
        """Free the model."""
        await self._worker.close()
        self._model = self._tokenizer = None
        self._pieces.clear()

    def _open(self) -> None:
        self._model = open_whisper(self._model_dir, self._threads)
        from faster_whisper.tokenizer import Tokenizer

        try:
            self._tokenizer = Tokenizer(
                self._model.hf_tokenizer,
                self._model.model.is_multilingual,
                task="transcribe",
                language=self._language,
            )
            self._prompt = self._model.get_prompt(self._tokenizer, [], without_timestamps=True)
            self._decode_short(np.zeros(SPEECH_RATE_HZ, np.float32))
        except (RuntimeError, ValueError, OSError) as exc:
            raise AdapterError("engine-failed", f"Whisper does not work: {exc}") from exc

    def _transcribe(self, pcm: bytes, final: bool) -> str:
        samples = to_float(pcm)
        texts = []
        try:
            for start, end in chunks(samples):
                piece = samples[start:end]
                is_last = end == len(samples)
                texts.append(self._recognise(piece, final) if is_last else self._finished(start, piece))
        except (RuntimeError, ValueError) as exc:
            raise AdapterError("engine-failed", f"Whisper failed: {exc}", retryable=True) from exc
        return " ".join(text for text in texts if text)

    def _finished(self, start: int, piece: Samples) -> str:
        """Return the text of a piece that will not grow any more, decoding it once."""
        key = (start, zlib.crc32(piece.tobytes()).to_bytes(4, "big"))
        if key not in self._pieces:
            self._pieces[key] = self._recognise(piece, final=True)
            while len(self._pieces) > REMEMBERED_PIECES:
                self._pieces.popitem(last=False)
        return self._pieces[key]

    def _recognise(self, samples: Samples, final: bool) -> str:
        if len(samples) < SHORTEST_S * SPEECH_RATE_HZ or np.abs(samples).max() < SILENCE_LEVEL:
            return ""
        if final and not self._is_short(samples):
            # Rare and long: a third of a second more is worth a window that does not loop.
            return self._decode_full_window(samples)
        decoded = self._decode_short(samples)
        if final and looks_hallucinated(decoded.text, decoded.logprob, len(samples) / SPEECH_RATE_HZ):
            self._redecoded += 1
            log.debug("an odd transcript is decoded again", extra={"logprob": decoded.logprob})
            return self._decode_full_window(samples)
        if decoded.no_speech > NO_SPEECH_LIMIT and decoded.logprob < LOGPROB_LIMIT:
            return ""
        return strip_noise_tags(collapse_repetition(decoded.text))

    def _is_short(self, samples: Samples) -> bool:
        frames = len(samples) * FRAMES_PER_S / SPEECH_RATE_HZ
        return frames + MARGIN_FRAMES <= self._window_frames

    def _decode_short(self, samples: Samples) -> _Decoded:
        features = self._model.feature_extractor(samples)
        frames = max(self._window_frames, features.shape[-1] + MARGIN_FRAMES)
        frames = min(FRAMES_MAX, math.ceil(frames / FRAMES_STEP) * FRAMES_STEP)
        # Zero, the library's own padding, is a loud frame in this scale: the decoder hears an echo in it.
        padding = ((0, 0), (0, max(0, frames - features.shape[-1])))
        padded = np.pad(features, padding, constant_values=features.min())[:, :frames]
        encoded = self._model.encode(padded)
        tokens_max = int(len(samples) / SPEECH_RATE_HZ * TOKENS_PER_S) + EXTRA_TOKENS
        result = self._model.model.generate(
            encoded,
            [self._prompt],
            beam_size=1,
            # CTranslate2 spends half of max_length on the prompt's side.
            max_length=min(2 * tokens_max, self._model.max_length),
            suppress_blank=True,
            suppress_tokens=[-1],
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens = [token for token in result.sequences_ids[0] if token < self._tokenizer.eot]
        text = self._tokenizer.decode(tokens).strip()
        return _Decoded(text, float(result.scores[0]), float(result.no_speech_prob))

    def _decode_full_window(self, samples: Samples) -> str:
        segments, _ = self._model.transcribe(
            samples,
            language=self._language,
            beam_size=1,
            temperature=STOCK_TEMPERATURES,
            without_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=False,
        )
        return strip_noise_tags(" ".join(segment.text.strip() for segment in segments))


def looks_hallucinated(text: str, logprob: float, duration_s: float) -> bool:
    """Whether a decoding shows a loop, a stutter or too little confidence.

    Args:
        text: What was decoded.
        logprob: Its mean log probability a token.
        duration_s: Length of the audio (seconds).
    """
    if logprob < LOGPROB_LIMIT or _STUTTER.search(text):
        return True
    words = text.split()
    if 0 < _period(words) < SENTENCE_WORDS or len(words) > WORDS_PER_S_LIMIT * duration_s + 2:
        return True
    data = text.encode()
    return bool(data) and len(data) / len(zlib.compress(data)) > COMPRESSION_LIMIT


def collapse_repetition(text: str) -> str:
    """Return `text` once when all of it is the same words said over and over."""
    words = text.split()
    period = _period(words)
    return " ".join(words[:period]) if period else text


def _period(words: list[str]) -> int:
    """Return after how many words everything repeats (at least one whole time), or 0."""
    keys = [re.sub(r"\W", "", word.lower()) for word in words]
    for length in range(1, len(keys) // 2 + 1):
        if all(key == keys[index % length] for index, key in enumerate(keys)):
            return length
    return 0
