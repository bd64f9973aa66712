"""Windows of long recordings: nothing is lost, cuts are quiet, times are right."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.text.alphabet import Alphabet
from pipeline.decoding.words.text_decoder import DecodedText, DecodedWord
from pipeline.training.network.model import Network
from pipeline.training.trained.recogniser import Recogniser
from pipeline.training.trained.transcription import (
    MAX_MEAN_Z,
    WINDOW_SECONDS,
    Transcript,
    cut_windows,
    transcribe,
)
from tests.training.letters import make_experiment

RATE = 1000
STEP_S = 0.1


class LoudnessRecogniser(Recogniser):
    """Has one step per 0.1 s, whose value is the mean amplitude, raised by `level`."""

    level = 0.0

    @property
    def step_seconds(self) -> float:
        return STEP_S

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        size = int(STEP_S * self.experiment.features.sample_rate)
        steps = -(-len(waveform) // size)
        padded = np.pad(np.abs(waveform), (0, steps * size - len(waveform)))
        return (padded.reshape(steps, size).mean(1, keepdims=True) + self.level).astype(np.float32)

    def log_probabilities(self, frames_TF: np.ndarray) -> np.ndarray:
        return frames_TF


def find_bursts(values_SC: np.ndarray) -> DecodedText:
    """Return a word for each row of loud steps."""
    loud = np.concatenate([[0], values_SC[:, 0] > 0.1, [0]])
    edges = np.flatnonzero(np.diff(loud)).reshape(-1, 2).tolist()
    words = tuple(DecodedWord("w", begin, end, 0.5) for begin, end in edges)
    return DecodedText(" ".join("w" for _ in words), words, 0.0, ())


def run(
    folder: Path, sound: np.ndarray, rate: int, *, level: float = 0.0, **sections
) -> tuple[Transcript, list[tuple[float, float]]]:
    experiment = make_experiment(**sections)
    alphabet = Alphabet("letters", ("A",))
    network = Network(experiment.model, experiment.features.bins, experiment.input.stack, 2)
    recogniser = LoudnessRecogniser(experiment, alphabet, network, None)
    object.__setattr__(recogniser, "level", level)
    soundfile.write(folder / "x.wav", sound, rate, subtype="FLOAT")
    windows: list[tuple[float, float]] = []
    found = transcribe(
        recogniser, folder / "x.wav", find_bursts, lambda begin, end: windows.append((begin, end))
    )
    return found, windows


def features_rate() -> int:
    return make_experiment().features.sample_rate


def test_words_have_their_times_in_the_whole_recording(tmp_path: Path):
    """Bursts of half a second with faint noise between them, then a minute of silence."""
    rate = features_rate()
    starts = [1.0, 8.0, 14.0, 23.0, 24.0, 37.0, 41.0, 58.0]
    sound = np.full(125 * rate, 2e-3, np.float32)
    for start in starts:
        sound[int(start * rate) : int((start + 0.5) * rate)] = 0.5
    sound[60 * rate :] = 0
    found, windows = run(tmp_path, sound, rate)
    assert [word.begin for word in found.words] == pytest.approx(starts, abs=STEP_S)
    assert [word.end for word in found.words] == pytest.approx(
        [start + 0.5 for start in starts], abs=2 * STEP_S
    )
    assert {word.score for word in found.words} == {0.5}
    assert found.text == " ".join("w" for _ in starts)
    assert found.seconds == pytest.approx(125)
    assert 125 - 60 - WINDOW_SECONDS <= found.silent_seconds <= 125 - 60
    assert windows[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(windows))
    assert windows[-1][1] == pytest.approx(125)  # silence counts as done, too
    assert found.notes == ()


def test_no_word_ends_after_the_recording(tmp_path: Path):
    rate = features_rate()
    sound = np.full(int(10.03 * rate), 2e-3, np.float32)
    sound[-int(0.4 * rate) :] = 0.5
    found, _ = run(tmp_path, sound, rate)
    assert [word.end for word in found.words] == [found.seconds]


@pytest.mark.parametrize(
    ("level", "normalisation", "note"),
    [
        (MAX_MEAN_Z + 0.1, "standardise", "far louder than the training's"),
        (-MAX_MEAN_Z - 0.7, "zca", "far quieter than the training's"),
        (MAX_MEAN_Z + 0.1, "pca", "far louder than the training's"),
        (MAX_MEAN_Z - 0.7, "standardise", ""),
        (MAX_MEAN_Z + 1, "utterance", ""),
    ],
)
def test_a_level_unlike_the_training_is_noted(tmp_path: Path, level, normalisation, note):
    sound = np.full(features_rate(), 0.5, np.float32)
    given = {"level": level, "input": {"normalisation": normalisation}}
    notes = run(tmp_path, sound, features_rate(), **given)[0].notes
    assert len(notes) == bool(note)
    assert note in "".join(notes)
    assert ("gain -10" in "".join(notes)) == ("louder than" in note)
    assert ("norm -3" in "".join(notes)) == ("quieter than" in note)


def test_the_level_is_that_of_the_whole_recording(tmp_path: Path):
    """One loud window is not a loud recording."""
    sound = np.full(int(3.5 * WINDOW_SECONDS) * features_rate(), 0.01, np.float32)
    sound[: int(WINDOW_SECONDS / 2 * features_rate())] = 0.9
    given = {"level": MAX_MEAN_Z - 0.5, "input": {"normalisation": "standardise"}}
    found, windows = run(tmp_path, sound, features_rate(), **given)
    assert len(windows) > 2
    assert found.notes == ()


def test_silence_and_a_low_sample_rate_are_noted(tmp_path: Path):
    rate = features_rate()
    silent, windows = run(tmp_path, np.full(3 * rate, 5e-4, np.float32), rate)
    assert (silent.text, silent.words, silent.silent_seconds) == ("", (), 3.0)
    assert windows == [(0, 3)]
    (note,) = silent.notes
    assert note.startswith("the recording is silent: no sample reaches 0.001 of full scale; if it ")
    assert note.endswith("raise its level, such as by sox recording.wav louder.wav norm -3")
    low, _ = run(tmp_path, np.full(rate, 0.5, np.float32), rate // 2)
    assert [note.split(":")[0] for note in low.notes] == [
        f"the recording has {rate // 2} Hz, and the features were made at {rate} Hz"
    ]
    assert f"above {rate // 4} Hz is missing" in low.notes[0]
    assert low.seconds == pytest.approx(2, abs=0.01)
    high, _ = run(tmp_path, np.full(rate, 0.5, np.float32), rate * 2)
    assert high.notes == ()


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 30_000), max_size=6),
)
def test_the_windows_are_the_recording(seed, sizes):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=size).astype(np.float32) for size in sizes]
    windows = list(cut_windows(iter(blocks), RATE))
    whole = np.concatenate([np.zeros(0, np.float32), *blocks])
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.float32), *windows]), whole)
    assert all(0 < len(each) <= WINDOW_SECONDS * RATE for each in windows)
    # A window ends in the last half of what it may hold.
    assert all(len(each) >= WINDOW_SECONDS * RATE / 2 for each in windows[:-1])


def test_a_window_ends_where_it_is_quiet():
    sound = np.ones(45_000, np.float32)
    sound[14_500:14_700] = 0
    first = next(cut_windows(iter([sound]), RATE))
    assert 14_520 <= len(first) <= 14_680, "not at the edge of the quiet part"


def test_two_windows_at_most_are_held():
    taken = 0

    def blocks():
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield np.ones(5_000, np.float32)

    windows = cut_windows(blocks(), RATE)
    next(windows)
    assert taken <= 2 * WINDOW_SECONDS * RATE / 5_000 + 1


def test_no_sound_has_no_window():
    assert list(cut_windows(iter([]), RATE)) == []
    assert [len(each) for each in cut_windows(iter([np.ones(1, np.float32)]), RATE)] == [1]


@pytest.mark.parametrize("samples", [20_000, 20_001])
def test_a_recording_of_a_window_is_one(samples: int):
    windows = list(cut_windows(iter([np.ones(samples, np.float32)]), RATE))
    assert len(windows) == (1 if samples == 20_000 else 2)
