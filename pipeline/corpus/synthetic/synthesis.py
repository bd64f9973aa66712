"""Demo: a corpus from nothing, spoken by espeak-ng. The only home of espeakng_loader.

In:   a corpus file's minutes, voices and seed.   Out: a folder with wav/<voice>/<id>.wav (16 kHz,
16 bit, mono), utterances.tsv, and synthesis.json, which is the last to say `complete`.
Not here: who speaks and what (prompts.py), reading the folder (readers.py).

espeak-ng keeps state between utterances (pitch flutter, noise, phase) that none of its calls
resets, so that bytes repeat only from a process that begins with it: one is started per corpus.
"""

import csv
import ctypes
import io
import json
import os
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

from pipeline.config.corpus import Corpus
from pipeline.corpus.audio import resample
from pipeline.corpus.synthetic.prompts import Voice, espeak_text, make_sentence, make_voices
from pipeline.files import InputError, read_json, write_bytes, write_json, write_text
from pipeline.shapes import Int16

SYNTHESIS_VERSION = 1  # raise it when the same settings give other bytes
STATE_FILE = "synthesis.json"
UTTERANCES_FILE = "utterances.tsv"
UTTERANCE_COLUMNS = ("id", "split", "voice", "transcript")

SAMPLE_RATE = 16_000  # Hz
MIN_SENTENCE_S, MAX_SENTENCE_S = 0.6, 5.0  # seconds
SPLIT_SHARES = {"train": 0.8, "dev": 0.08, "test": 0.12}  # of the minutes
WRITER_THREADS = 8  # threads; of a file as small as these, most of the time is the disk's
PADDING_S = 0.1  # seconds, before and after
SPEECH_RMS = 0.06  # root mean square of the speech; 1 is full scale
NOISE_RMS = 4 / 32768  # likewise

SynthesisProgress = Callable[[int, int], None]  # seconds spoken, seconds wanted


def synthesise(
    corpus: Corpus, folder: Path, progress: SynthesisProgress = lambda done, total: None
) -> None:
    """Fill `folder`, unless it holds this very corpus; what was interrupted starts again."""
    settings = {
        "version": SYNTHESIS_VERSION,
        "espeakng_loader": version("espeakng-loader"),
        **corpus.model_dump(include={"minutes", "voices", "seed"}),
    }
    if not _prepare_folder(folder, settings):
        return
    _synthesise_in_subprocess(settings, folder.resolve(), progress)
    write_json(folder / STATE_FILE, {"settings": settings, "complete": True})


def read_utterance_table(folder: Path) -> list[dict[str, str]]:
    """The rows of utterances.tsv, keyed by COLUMNS; `audio` is the path below `folder`."""
    try:
        with (folder / UTTERANCES_FILE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        return [{**row, "audio": _audio_path(row["voice"], row["id"])} for row in rows]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"{folder / UTTERANCES_FILE}: cannot be read ({error}); delete {folder}, and the corpus is "
            "synthesised again"
        ) from None


def _prepare_folder(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether there is something to do; if so, the folder is ours and says that it is not done."""
    found = read_json(folder / STATE_FILE) if (folder / STATE_FILE).is_file() else None
    if found == {"settings": settings, "complete": True}:
        return False
    if found is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: is not empty and holds no synthesised corpus; choose another root in the "
            "corpus file, or leave root out"
        )
    if found is not None and found.get("settings") != settings:
        _delete_old_corpus(folder)
    write_json(folder / STATE_FILE, {"settings": settings, "complete": False})
    return True


def _delete_old_corpus(folder: Path) -> None:
    """Delete what another corpus wrote here, and nothing else."""
    for path in (folder / "wav").glob("v*/v*.wav"):
        path.unlink()
    (folder / UTTERANCES_FILE).unlink(missing_ok=True)


def _synthesise_in_subprocess(
    settings: dict[str, Any], folder: Path, progress: SynthesisProgress
) -> None:
    command = [sys.executable, "-m", __name__, json.dumps(settings), str(folder)]
    home = Path(__file__).resolve().parents[2]  # the folder of `pipeline`: -m finds it there
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
                "choose another work folder with WORK=…, and type it again"
            )


def _synthesise_corpus(settings: dict[str, Any], folder: Path, progress: SynthesisProgress) -> None:
    rng = Random(settings["seed"])
    cast = make_voices(settings["voices"], rng)
    heard = Counter(voice.split for voice in cast)
    wanted = settings["minutes"] * 60
    espeak = _Espeak(settings["seed"])
    rows, done = ["\t".join(UTTERANCE_COLUMNS)], 0.0
    with ThreadPoolExecutor(WRITER_THREADS) as pool:
        for voice in cast:
            share = wanted * SPLIT_SHARES[voice.split] / heard[voice.split]
            writes = []
            for transcript, waveform in _synthesise_voice(voice, share, espeak, rng):
                utterance = f"{voice.id}-{len(rows):05d}"
                path = folder / _audio_path(voice.id, utterance)
                writes.append(pool.submit(write_bytes, path, _encode_wav(waveform)))
                rows.append("\t".join((utterance, voice.split, voice.id, transcript)))
                done += len(waveform) / SAMPLE_RATE
                progress(min(round(done), round(wanted)), round(wanted))
            for write in writes:
                write.result()
    write_text(folder / UTTERANCES_FILE, "\n".join(rows) + "\n")


def _synthesise_voice(
    voice: Voice, seconds: float, espeak: "_Espeak", rng: Random
) -> Iterator[tuple[str, Int16[np.ndarray, " N"]]]:
    """Transcript and sound, until the voice has spoken for `seconds`."""
    spoken = 0.0
    while spoken < seconds:
        transcript = make_sentence(rng)
        waveform = _simulate_recording(espeak.say(espeak_text(transcript), voice), espeak.rate, rng)
        length = len(waveform) / SAMPLE_RATE
        if MIN_SENTENCE_S <= length <= MAX_SENTENCE_S:
            yield transcript, waveform
            spoken += length


def _simulate_recording(
    speech: Int16[np.ndarray, " N"], rate: int, rng: Random
) -> Int16[np.ndarray, " M"]:
    """At 16 kHz and one loudness, between two silences, in a room that is not quite silent."""
    waveform = resample.resample(speech.astype(np.float32), rate, SAMPLE_RATE)
    waveform *= SPEECH_RMS / np.sqrt(np.mean(np.square(waveform)))
    padded = np.pad(waveform, round(PADDING_S * SAMPLE_RATE))
    noise = np.random.default_rng(int(rng.random() * 2**32)).standard_normal(len(padded))
    sound = np.round((padded + NOISE_RMS * noise) * 32768)
    return np.clip(sound, -32768, 32767).astype(np.int16)


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
    """espeak-ng's C library; one per process, because its state is the library's."""

    # speak_lib.h
    SYNCHRONOUS, DONT_EXIT = 2, 0x8000
    SPEED, VOLUME, PITCH, WORD_GAP = 1, 2, 3, 7
    CHARACTERS, UTF8, END_PAUSE = 1, 1, 0x1000
    CALLBACK = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def __init__(self, seed: int) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._chunks: list[bytes] = []
        # Paths of 160 characters and more it cuts, silently: hence a short one, from inside.
        data = Path(espeakng_loader.get_data_path()).resolve()
        os.chdir(data.parent)
        self.rate: int = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, data.name.encode(), self.DONT_EXIT
        )
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng does not start with its data in {data}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # it seeds itself by the clock
        self._callback = self.CALLBACK(self._on_samples)  # kept: the library holds a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice) -> Int16[np.ndarray, " N"]:
        self._chunks.clear()
        self._check_status(self._library.espeak_SetVoiceByName(voice.name.encode()), voice.name)
        for parameter, value in (
            (self.SPEED, voice.speed),
            (self.PITCH, voice.pitch),
            (self.VOLUME, 60),  # percent: at 100 some variants clip
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
        return 0  # go on

    @staticmethod
    def _check_status(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng refuses {what!r} with status {status}")


def _print_progress(done: int, total: int) -> None:
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _synthesise_corpus(json.loads(sys.argv[1]), Path(sys.argv[2]), _print_progress)
