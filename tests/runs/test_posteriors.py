"""Tests of the posteriors of a run: which utterances, which classes, and the file."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.features.hdf5 import verify_file
from pipeline.runs.hypotheses import Hypothesis
from pipeline.runs.posteriors import (
    MAX_CLASSES,
    Posterior,
    choose_utterances,
    read_posteriors,
    write_posteriors,
)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def example(name: str, steps: int = 7, classes: int = 5, scale: float = 4.0) -> Posterior:
    logits = np.random.default_rng(len(name)).normal(scale=scale, size=(steps, classes))
    symbols = ["", *(chr(0x623 + c) for c in range(classes - 1))]
    return Posterior.of(name, 3 * steps, log_softmax(logits), symbols)


def test_posteriors_read_back(tmp_path: Path):
    written = [example("a"), example("bb", classes=9), example("ccc", steps=0)]
    path = tmp_path / "posteriors.h5"
    write_posteriors(path, written)
    found = read_posteriors(path)
    assert [each.utterance_id for each in found] == ["a", "bb", "ccc"]
    for one, other in zip(found, written, strict=True):
        assert (one.frames, one.symbols) == (other.frames, other.symbols)
        assert one.log_probabilities.dtype == np.float16
        assert np.array_equal(one.log_probabilities, other.log_probabilities)
    assert verify_file(path) < 20_000
    again = tmp_path / "again.h5"
    write_posteriors(again, written)
    assert again.read_bytes() == path.read_bytes()


def test_a_missing_or_damaged_file_has_no_posteriors(tmp_path: Path):
    path = tmp_path / "posteriors.h5"
    assert read_posteriors(path) == []
    write_posteriors(path, [])
    assert read_posteriors(path) == []
    write_posteriors(path, [example("a")])
    path.write_bytes(path.read_bytes()[:900])
    assert read_posteriors(path) == []


def test_the_blank_and_the_classes_with_high_peaks_are_kept():
    probabilities = np.full((2, 100), 1e-4)
    probabilities[0, 60] = 1 - probabilities[0].sum()
    probabilities[1, [3, 8]] = 0.04, 0.9
    posterior = Posterior.of("a", 2, np.log(probabilities), ["", *map(str, range(1, 100))])
    assert posterior.symbols == ("", "8", "60")
    assert np.exp(posterior.log_probabilities[:, 1].astype(float)) == pytest.approx(
        [1e-4, 0.9], rel=0.01
    )


def test_an_emitted_class_is_kept_however_low_it_is():
    flat = np.full((3, 50), -np.log(50))
    flat[1, 7] += 0.1
    assert Posterior.of("a", 3, flat, ["", *map(str, range(1, 50))]).symbols == ("", "7")


def test_at_most_so_many_classes_are_kept():
    posterior = example("a", steps=200, classes=300, scale=9)
    assert len(posterior.symbols) == MAX_CLASSES
    assert posterior.symbols[0] == ""


def hypotheses(rates: list[int], references: list[str]) -> list[Hypothesis]:
    return [
        Hypothesis.of(f"u{n}", "test", text, "X" * wrong + text[wrong:])
        for n, (wrong, text) in enumerate(zip(rates, references, strict=True))
    ]


def test_the_worst_the_median_and_shared_utterances_are_chosen():
    references = ["A" * (20 - n) for n in range(11)]
    chosen = choose_utterances(hypotheses([*range(6), *[0] * 5], references))
    assert chosen[:4] == [5, 4, 3, 0]  # 5 of 15 wrong, 4 of 16, 3 of 17; the median has none
    other = choose_utterances(hypotheses([0] * 5 + [*range(6)], references))
    assert {9, 5, 1} <= {*chosen} & {*other}  # by length, whatever the errors
    assert len(chosen) == 6


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_small_split_is_chosen_whole(count: int):
    chosen = choose_utterances(hypotheses([0] * count, ["AB"] * count))
    assert sorted(chosen) == list(range(count))
