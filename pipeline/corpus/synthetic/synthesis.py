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
from pipeline.corpus.synthetic.prompts import Voice, pronunciation, sentence, voices
from pipeline.files import InputError, read_json, write_bytes, write_json, write_text
from pipeline.shapes import Int16

VERSION = 1  # raise it when the same settings give other bytes
STATE = "synthesis.json"
TABLE = "utterances.tsv"
COLUMNS = ("id", "split", "voice", "transcript")

RATE = 16_000  # Hz
SHORTEST, LONGEST = 0.6, 5.0  # seconds
SHARES = {"train": 0.8, "dev": 0.08, "test": 0.12}  # of the minutes
WRITERS = 8  # threads; of a file as small as these, most of the time is the disk's
SILENCE = 0.1  # seconds, before and after
LOUDNESS = 0.06  # root mean square of the speech; 1 is full scale
NOISE = 4 / 32768  # likewise

Progress = Callable[[int, int], None]  # seconds spoken, seconds wanted


def synthesise(corpus: Corpus, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Fill `folder`, unless it holds this very corpus; what was interrupted starts again."""
    settings = {
        "version": VERSION,
        "espeakng_loader": version("espeakng-loader"),
        **corpus.model_dump(include={"minutes", "voices", "seed"}),
    }
    if not _begin(folder, settings):
        return
    _speak_in_a_fresh_process(settings, folder.resolve(), progress)
    write_json(folder / STATE, {"settings": settings, "complete": True})


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of utterances.tsv, keyed by COLUMNS; `audio` is the path below `folder`."""
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        return [{**row, "audio": _audio(row["voice"], row["id"])} for row in rows]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"{folder / TABLE}: cannot be read ({error}); delete {folder}, and the corpus is "
            "synthesised again"
        ) from None


def _begin(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether there is something to do; if so, the folder is ours and says that it is not done."""
    found = read_json(folder / STATE) if (folder / STATE).is_file() else None
    if found == {"settings": settings, "complete": True}:
        return False
    if found is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: is not empty and holds no synthesised corpus; choose another root in the "
            "corpus file, or leave root out"
        )
    if found is not None and found.get("settings") != settings:
        _clear(folder)
    write_json(folder / STATE, {"settings": settings, "complete": False})
    return True


def _clear(folder: Path) -> None:
    """Delete what another corpus wrote here, and nothing else."""
    for path in (folder / "wav").glob("v*/v*.wav"):
        path.unlink()
    (folder / TABLE).unlink(missing_ok=True)


def _speak_in_a_fresh_process(settings: dict[str, Any], folder: Path, progress: Progress) -> None:
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


def _speak_corpus(settings: dict[str, Any], folder: Path, progress: Progress) -> None:
    rng = Random(settings["seed"])
    cast = voices(settings["voices"], rng)
    heard = Counter(voice.split for voice in cast)
    wanted = settings["minutes"] * 60
    espeak = _Espeak(settings["seed"])
    rows, done = ["\t".join(COLUMNS)], 0.0
    with ThreadPoolExecutor(WRITERS) as pool:
        for voice in cast:
            share = wanted * SHARES[voice.split] / heard[voice.split]
            writes = []
            for transcript, waveform in _utterances(voice, share, espeak, rng):
                utterance = f"{voice.id}-{len(rows):05d}"
                path = folder / _audio(voice.id, utterance)
                writes.append(pool.submit(write_bytes, path, _wav(waveform)))
                rows.append("\t".join((utterance, voice.split, voice.id, transcript)))
                done += len(waveform) / RATE
                progress(min(round(done), round(wanted)), round(wanted))
            for write in writes:
                write.result()
    write_text(folder / TABLE, "\n".join(rows) + "\n")


def _utterances(
    voice: Voice, seconds: float, espeak: "_Espeak", rng: Random
) -> Iterator[tuple[str, Int16[np.ndarray, " N"]]]:
    """Transcript and sound, until the voice has spoken for `seconds`."""
    spoken = 0.0
    while spoken < seconds:
        transcript = sentence(rng)
        waveform = _recorded(espeak.say(pronunciation(transcript), voice), espeak.rate, rng)
        length = len(waveform) / RATE
        if SHORTEST <= length <= LONGEST:
            yield transcript, waveform
            spoken += length


def _recorded(speech: Int16[np.ndarray, " N"], rate: int, rng: Random) -> Int16[np.ndarray, " M"]:
    """At 16 kHz and one loudness, between two silences, in a room that is not quite silent."""
    waveform = resample.resample(speech.astype(np.float32), rate, RATE)
    waveform *= LOUDNESS / np.sqrt(np.mean(np.square(waveform)))
    padded = np.pad(waveform, round(SILENCE * RATE))
    noise = np.random.default_rng(int(rng.random() * 2**32)).standard_normal(len(padded))
    sound = np.round((padded + NOISE * noise) * 32768)
    return np.clip(sound, -32768, 32767).astype(np.int16)


def _wav(waveform: Int16[np.ndarray, " N"]) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(waveform.astype("<i2").tobytes())
    return content.getvalue()


def _audio(voice: str, utterance: str) -> str:
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
        self._heard: list[bytes] = []
        # Paths of 160 characters and more it cuts, silently: hence a short one, from inside.
        data = Path(espeakng_loader.get_data_path()).resolve()
        os.chdir(data.parent)
        self.rate: int = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, data.name.encode(), self.DONT_EXIT
        )
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng does not start with its data in {data}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # it seeds itself by the clock
        self._callback = self.CALLBACK(self._hear)  # kept: the library holds a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice) -> Int16[np.ndarray, " N"]:
        self._heard.clear()
        self._require(self._library.espeak_SetVoiceByName(voice.name.encode()), voice.name)
        for parameter, value in (
            (self.SPEED, voice.speed),
            (self.PITCH, voice.pitch),
            (self.VOLUME, 60),  # percent: at 100 some variants clip
            (self.WORD_GAP, voice.gap),
        ):
            self._require(self._library.espeak_SetParameter(parameter, value, 0), voice.name)
        content = text.encode() + b"\0"
        self._require(
            self._library.espeak_Synth(
                content, len(content), 0, self.CHARACTERS, 0, self.UTF8 | self.END_PAUSE, None, None
            ),
            text,
        )
        return np.frombuffer(b"".join(self._heard), dtype=np.int16)

    def _hear(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._heard.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    @staticmethod
    def _require(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng refuses {what!r} with status {status}")


def _report(done: int, total: int) -> None:
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _speak_corpus(json.loads(sys.argv[1]), Path(sys.argv[2]), _report)
