"""Synthesis of the demo corpus by espeak-ng. The only home of espeakng_loader.

In:   minutes, voices and seed of a corpus file.   Out: a folder with wav/<voice>/<id>.wav (16 kHz,
16 bit, mono), utterances.tsv and synthesis.json, which becomes `complete` at the end.
Not here: voices and sentences (prompts.py, sentences.py), reading the folder (corpus/readers.py).

espeak-ng keeps state between utterances (pitch flutter, noise, phase) that no call resets. A corpus
is therefore synthesised in a new process, so that the same settings give the same bytes.
"""

import csv
import ctypes
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import espeakng_loader
import numpy as np

from pipeline.config.corpus import Corpus, base_language
from pipeline.corpus.audio import resample
from pipeline.corpus.synthetic.prompts import (
    ACCENTS,
    Voice,
    espeak_text,
    make_sentence,
    make_voices,
)
from pipeline.corpus.synthetic.sentences import GRAMMARS, Grammar, Numbers, find_grammar
from pipeline.files import InputError, read_json, write_bytes, write_json, write_text
from pipeline.shapes import Int16

SYNTHESIS_VERSION = 3  # raise it when the same settings give different bytes
STATE_FILE = "synthesis.json"
UTTERANCES_FILE = "utterances.tsv"
UTTERANCE_COLUMNS = ("id", "split", "voice", "transcript")

SAMPLE_RATE = 16_000  # Hz
MIN_SENTENCE_S, MAX_SENTENCE_S = 0.6, 5.0
SPLIT_SHARES = {"train": 0.8, "dev": 0.08, "test": 0.12}  # of the minutes
WRITER_THREADS = 8  # writing small files is limited by the disk, not by Python
PADDING_S = 0.1  # silence before and after
SPEECH_RMS = 0.06  # root mean square; full scale is 1
NOISE_RMS = 4 / 32768

SynthesisProgress = Callable[[int, int], None]  # seconds synthesised, seconds in all


def synthesise(
    corpus: Corpus, folder: Path, progress: SynthesisProgress = lambda done, total: None
) -> None:
    """Synthesise the corpus into `folder`, unless it is there already and complete.

    An interrupted synthesis starts again. Raises InputError if the folder holds anything else, or
    if synthesis fails.
    """
    settings = {
        "version": SYNTHESIS_VERSION,
        "espeakng_loader": version("espeakng-loader"),
        **corpus.model_dump(include={"minutes", "voices", "seed"}),
        **({} if corpus.is_english else {"language": _known_language(corpus.language)}),
    }
    if not _prepare_folder(folder, settings):
        return
    _synthesise_in_subprocess(settings, folder.resolve(), progress)
    write_json(folder / STATE_FILE, {"settings": settings, "complete": True})


def _known_language(language: str) -> str:
    """Return the language without its region. Raises InputError if it cannot be spoken."""
    base = base_language(language)
    if find_grammar(base) is None or not _has_voice(base):
        raise InputError(
            f"language: {language}: the demo corpus cannot be made in it: sentences are in en, "
            f"{', '.join(GRAMMARS)}, numbers in each language that num2words and espeak-ng both "
            "know, such as ar, fr or ru"
        )
    return base


def _has_voice(language: str) -> bool:
    """Return whether espeak-ng speaks the language; the files of its voices say `language fr`."""
    if language in GRAMMARS:
        return True
    files = Path(espeakng_loader.get_data_path(), "lang").rglob("*")
    wanted = re.compile(rf"^language {language}\b(?!-)", re.MULTILINE)
    return any(wanted.search(file.read_text("utf-8")) for file in files if file.is_file())


def read_utterance_table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of utterances.tsv, with the path below `folder` as `audio`."""
    try:
        with (folder / UTTERANCES_FILE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        return [{**row, "audio": _audio_path(row["voice"], row["id"])} for row in rows]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"{folder / UTTERANCES_FILE}: cannot be read ({error}); delete {folder} to synthesise "
            "the corpus again"
        ) from None


def _prepare_folder(folder: Path, settings: dict[str, Any]) -> bool:
    """Return False if the corpus is complete; else empty the folder and mark it as incomplete."""
    found = read_json(folder / STATE_FILE) if (folder / STATE_FILE).is_file() else None
    if found == {"settings": settings, "complete": True}:
        return False
    if found is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: is not empty and holds no synthesised corpus; choose another root: in the "
            "corpus file, or remove root:"
        )
    if found is not None and found.get("settings") != settings:
        _delete_old_corpus(folder)
    write_json(folder / STATE_FILE, {"settings": settings, "complete": False})
    return True


def _delete_old_corpus(folder: Path) -> None:
    """Delete the files of an older demo corpus, and nothing else."""
    for path in (folder / "wav").glob("v*/v*.wav"):
        path.unlink()
    (folder / UTTERANCES_FILE).unlink(missing_ok=True)


def _synthesise_in_subprocess(
    settings: dict[str, Any], folder: Path, progress: SynthesisProgress
) -> None:
    command = [sys.executable, "-m", __name__, json.dumps(settings), str(folder)]
    home = Path(__file__).resolve().parents[3]  # the folder that holds `pipeline`, for -m
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, cwd=home, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                done, total = line.split()
                progress(int(done), int(total))
            failed = process.wait() != 0
        finally:
            process.kill()
        if failed:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["it was killed"])[-1]
            raise InputError(
                f"{folder}: the demo corpus could not be synthesised: {last}; free some space or "
                "choose another work folder with WORK=…, then run the same command again"
            )


def _synthesise_corpus(settings: dict[str, Any], folder: Path, progress: SynthesisProgress) -> None:
    rng = Random(settings["seed"])
    grammar = find_grammar(settings["language"]) if "language" in settings else None
    accents = (grammar.voice,) if grammar else ACCENTS
    voices = make_voices(settings["voices"], rng, accents)
    voices_per_split = Counter(voice.split for voice in voices)
    total = settings["minutes"] * 60
    espeak = _Espeak(settings["seed"])
    rows, done = ["\t".join(UTTERANCE_COLUMNS)], 0.0
    with ThreadPoolExecutor(WRITER_THREADS) as pool:
        for voice in voices:
            seconds = total * SPLIT_SHARES[voice.split] / voices_per_split[voice.split]
            writes = []
            for transcript, waveform in _synthesise_voice(voice, seconds, espeak, rng, grammar):
                utterance = f"{voice.id}-{len(rows):05d}"
                path = folder / _audio_path(voice.id, utterance)
                writes.append(pool.submit(write_bytes, path, _encode_wav(waveform)))
                rows.append("\t".join((utterance, voice.split, voice.id, transcript)))
                done += len(waveform) / SAMPLE_RATE
                progress(min(round(done), round(total)), round(total))
            for write in writes:
                write.result()
    write_text(folder / UTTERANCES_FILE, "\n".join(rows) + "\n")


def _synthesise_voice(
    voice: Voice, seconds: float, espeak: "_Espeak", rng: Random, grammar: Grammar | Numbers | None
) -> Iterator[tuple[str, Int16[np.ndarray, " N"]]]:
    """Yield transcripts and waveforms until they last `seconds`."""
    done = 0.0
    while done < seconds:
        transcript = grammar.make_sentence(rng) if grammar else make_sentence(rng)
        text = transcript if grammar else espeak_text(transcript)
        waveform = _simulate_recording(espeak.say(text, voice), espeak.rate, rng)
        length = len(waveform) / SAMPLE_RATE
        if MIN_SENTENCE_S <= length <= MAX_SENTENCE_S:
            yield transcript, waveform
            done += length


def _simulate_recording(
    speech: Int16[np.ndarray, " N"], rate: int, rng: Random
) -> Int16[np.ndarray, " M"]:
    """Resample to 16 kHz, set the level, add silence around the speech and a little noise."""
    waveform = resample.resample(speech.astype(np.float32), rate, SAMPLE_RATE)
    waveform *= SPEECH_RMS / np.sqrt(np.mean(np.square(waveform)))
    padded = np.pad(waveform, round(PADDING_S * SAMPLE_RATE))
    noise = np.random.default_rng(int(rng.random() * 2**32)).standard_normal(len(padded))
    samples = np.round((padded + NOISE_RMS * noise) * 32768)
    return np.clip(samples, -32768, 32767).astype(np.int16)


def _encode_wav(waveform: Int16[np.ndarray, " N"]) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(waveform.astype("<i2").tobytes())
    return content.getvalue()


def _audio_path(voice: str, utterance: str) -> str:
    return f"wav/{voice}/{utterance}.wav"


class _Espeak:
    """The C library of espeak-ng. One per process, because the library has global state."""

    # Constants of the C API of espeak-ng
    SYNCHRONOUS, DONT_EXIT = 2, 0x8000
    SPEED, VOLUME, PITCH, WORD_GAP = 1, 2, 3, 7
    CHARACTERS, UTF8, END_PAUSE = 1, 1, 0x1000
    CALLBACK = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def __init__(self, seed: int) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._chunks: list[bytes] = []
        # espeak-ng cuts paths of 160 characters or more, so it gets a relative one.
        data = Path(espeakng_loader.get_data_path()).resolve()
        os.chdir(data.parent)
        self.rate: int = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, data.name.encode(), self.DONT_EXIT
        )
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng cannot start with its data in {data}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # its own seed is the time
        self._callback = self.CALLBACK(
            self._on_samples
        )  # keep a reference: the library holds a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice) -> Int16[np.ndarray, " N"]:
        """Return the speech at `rate` Hz. Raises RuntimeError if espeak-ng reports an error."""
        self._chunks.clear()
        self._check_status(self._library.espeak_SetVoiceByName(voice.name.encode()), voice.name)
        for parameter, value in (
            (self.SPEED, voice.speed),
            (self.PITCH, voice.pitch),
            (self.VOLUME, 60),  # percent; at 100 some variants clip
            (self.WORD_GAP, voice.gap),
        ):
            self._check_status(self._library.espeak_SetParameter(parameter, value, 0), voice.name)
        content = text.encode() + b"\0"
        self._check_status(
            self._library.espeak_Synth(
                content, len(content), 0, self.CHARACTERS, 0, self.UTF8 | self.END_PAUSE, None, None
            ),
            text,
        )
        return np.frombuffer(b"".join(self._chunks), dtype=np.int16)

    def _on_samples(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # continue

    @staticmethod
    def _check_status(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng: status {status} for {what!r}")


def _print_progress(done: int, total: int) -> None:
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _synthesise_corpus(json.loads(sys.argv[1]), Path(sys.argv[2]), _print_progress)
