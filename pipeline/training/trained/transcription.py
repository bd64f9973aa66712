"""Transcription: any recording -> text with times, window by window, in bounded memory.

In:   a recogniser, a recording of any length.
Out:  the words with times and confidences; what is unlike the training, in sentences.
Not here: the network (recogniser.py), files with times (decoding/time_formats.py).
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.decoding import DecodingSettings
from pipeline.config.loader import validate_settings
from pipeline.corpus.audio import decode, resample
from pipeline.corpus.audio.audio_file import without_exclude_hint
from pipeline.decoding.time_formats import TimedText
from pipeline.decoding.words.text_decoder import DecodedText, TextDecoder, decode_greedily
from pipeline.decoding.words.text_sources import TextSources
from pipeline.shapes import Float32, Float64
from pipeline.training.trained.recogniser import Recogniser

WINDOW_SECONDS = 20.0  # at most; a window ends where it is quietest in its last half
QUIET_SECONDS = 0.05  # the length over which loudness is measured
SILENCE = 1e-3  # -60 dB of full scale; a window whose peak is below it is not decoded
MAX_MEAN_Z = 1.5  # mean of the normalised input beyond which the level is unlike the training's
LOUDER_HINT = "raise its level, such as by sox recording.wav louder.wav norm -3"
SOFTER_HINT = "lower its level, such as by sox recording.wav softer.wav gain -10"

Decoder = Callable[[Float32[np.ndarray, "S C"]], DecodedText]


@dataclass(frozen=True)
class Transcript:
    text: str
    words: tuple[TimedText, ...]
    seconds: float
    silent_seconds: float  # of windows that were not decoded
    notes: tuple[str, ...]  # what is unlike the training


def make_decoder(recogniser: Recogniser) -> Decoder:
    """Return the search of the recogniser's decoding if it has one; else greedy search.

    Where a file does not hold beam, n_best and blank_skip, the defaults are taken.
    """
    if recogniser.language is None:
        return lambda logs_SC: decode_greedily(logs_SC, recogniser.alphabet)
    sources, weights = TextSources.from_dict(recogniser.language, recogniser.alphabet)
    stored = recogniser.language.get("search", {})
    search = validate_settings(DecodingSettings, stored, Path("the stored decoding"))
    decoder = TextDecoder(sources, weights, search.beam, search.blank_skip)
    return lambda logs_SC: decoder.decode_fully(logs_SC, search.n_best)


@without_exclude_hint()
def transcribe(
    recogniser: Recogniser,
    path: Path,
    decoder: Decoder,
    on_window: Callable[[float, float], None] = lambda before, seconds: None,
) -> Transcript:
    """Transcribe one file. InputError, with its name, where the file cannot be used.

    `on_window` gets the seconds that were done before a window, and that are done after it.
    """
    rate = recogniser.experiment.features.sample_rate
    with closing(decode.open_audio(str(path))) as audio:
        own_rate = audio.rate
    words: list[TimedText] = []
    done = silent = 0
    levels = []
    for window in cut_windows(resample.blocks(path, rate), rate):
        begin = done / rate
        done += len(window)
        if np.abs(window).max(initial=0.0) < SILENCE:
            silent += len(window)
            on_window(begin, done / rate)
            continue
        frames = recogniser.frames(window)
        levels.append(float(frames.mean()))
        decoded = decoder(recogniser.log_probabilities(frames))
        step = recogniser.step_seconds
        starts = step_starts(
            max((w.end for w in decoded.words), default=0), step, begin, done / rate
        )
        words += [
            TimedText(w.text, float(starts[w.begin]), float(starts[w.end]), w.confidence)
            for w in decoded.words
        ]
        on_window(begin, done / rate)
    text = " ".join(word.text for word in words)
    notes = tuple(_notes(recogniser, own_rate, done, silent, levels))
    return Transcript(text, tuple(words), done / rate, silent / rate, notes)


def cut_windows(
    blocks: Iterator[Float32[np.ndarray, " N"]], rate: int
) -> Iterator[Float32[np.ndarray, " M"]]:
    """Yield windows of at most WINDOW_SECONDS, cut where the sound is quietest.

    All windows together are the recording. At most two windows are in memory.
    """
    most = int(WINDOW_SECONDS * rate)
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > most:
            cut = _quietest(held[:most], rate)
            yield held[:cut]
            held = held[cut:]
    if len(held):
        yield held


def step_starts(steps: int, step: float, begin: float, end: float) -> Float64[np.ndarray, " _"]:
    """Return when each output step of a window begins, and when the last one ends [seconds].

    The window is `begin` to `end`; the last step can be longer than what is left of it.
    """
    starts: np.ndarray = np.minimum(begin + step * np.arange(steps + 1), end)
    return starts


def _quietest(window: Float32[np.ndarray, " N"], rate: int) -> int:
    """Return the middle of the quietest QUIET_SECONDS of the last half, as a sample."""
    size = max(1, int(QUIET_SECONDS * rate))
    first = len(window) // 2
    pieces = (len(window) - first) // size
    energy = np.square(window[first : first + pieces * size].reshape(pieces, size)).sum(1)
    return first + int(energy.argmin()) * size + size // 2


def _notes(
    recogniser: Recogniser, rate: int, samples: int, silent: int, levels: list[float]
) -> Iterator[str]:
    trained = recogniser.experiment.features.sample_rate
    if rate < trained:
        yield (
            f"the recording has {rate} Hz, and the features were made at {trained} Hz: what is "
            f"above {rate // 2} Hz is missing, so expect more errors"
        )
    if samples and silent == samples:
        yield (
            f"the recording is silent: no sample reaches {SILENCE:g} of full scale; if it holds "
            f"speech, {LOUDER_HINT}"
        )
    affine = recogniser.experiment.input.normalisation in {"standardise", "pca", "zca"}
    if levels and affine and abs(float(np.mean(levels))) > MAX_MEAN_Z:
        is_louder = np.mean(levels) > 0
        yield (
            f"the recording is far {'louder' if is_louder else 'quieter'} than the training's "
            f"(mean of the normalised input {np.mean(levels):+.1f}, limit {MAX_MEAN_Z}), so expect "
            f"more errors; {SOFTER_HINT if is_louder else LOUDER_HINT}"
        )
