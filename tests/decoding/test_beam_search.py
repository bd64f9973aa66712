"""Beam search finds what enumerating every alignment finds."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding.beam_search import beam_search, beam_search_utterance
from pipeline.decoding.greedy_search import greedy_search


def normalised(seed: int, frames: int, classes: int, sharpness: float = 1.0) -> np.ndarray:
    logits_SC = sharpness * np.random.default_rng(seed).normal(size=(frames, classes))
    return logits_SC - np.log(np.exp(logits_SC).sum(-1, keepdims=True))


def enumerated(logs_SC: np.ndarray) -> dict[tuple[int, ...], float]:
    """Probability of each label sequence: the sum over its alignments."""
    frames, classes = logs_SC.shape
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(classes), repeat=frames):
        labels = tuple(c for c, _ in itertools.groupby(path) if c != 0)
        sums[labels] += math.exp(logs_SC[range(frames), path].sum())
    return sums


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 4), st.floats(0.1, 5))
@settings(max_examples=40, deadline=None)
def test_a_wide_beam_is_exact(seed: int, frames: int, classes: int, sharpness: float):
    logs_SC = normalised(seed, frames, classes, sharpness)
    expected = enumerated(logs_SC)
    found = beam_search_utterance(logs_SC, beam=len(expected), threshold=0.0)
    assert {f.labels for f in found} == set(expected)
    for one in found:
        assert math.exp(one.log_probability) == pytest.approx(expected[one.labels], rel=1e-9)
    probabilities = [f.log_probability for f in found]
    assert probabilities == sorted(probabilities, reverse=True)


@given(st.integers(0, 2**31), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_a_narrow_beam_never_claims_more_than_there_is(seed: int, beam: int):
    logs_SC = normalised(seed, 5, 4)
    expected = enumerated(logs_SC)
    found = beam_search_utterance(logs_SC, beam=beam)
    assert len(found) <= beam
    assert len({f.labels for f in found}) == len(found)
    for one in found:
        assert math.exp(one.log_probability) <= expected[one.labels] * (1 + 1e-9)


def test_many_alignments_outweigh_the_best_one():
    # Blank wins each frame, but A's three alignments together (0.64) beat the blank's one (0.36).
    logs_SC = np.log([[0.6, 0.4], [0.6, 0.4]])
    lengths = np.array([2])
    assert greedy_search(logs_SC[None], lengths) == [[]]
    assert beam_search(logs_SC[None], lengths, beam=4) == [[1]]


def test_on_sharp_outputs_beam_and_greedy_agree():
    logs = np.stack([normalised(s, 40, 8, sharpness=40) for s in range(4)])
    lengths = np.array([40, 31, 5, 1])
    assert beam_search(logs, lengths, beam=8) == greedy_search(logs, lengths)


def test_padding_does_not_change_a_hypothesis():
    logs = np.stack([normalised(s, 12, 5) for s in range(2)])
    lengths = np.array([12, 7])
    padded = np.concatenate([logs, np.random.default_rng(0).normal(size=(2, 6, 5))], 1)
    assert beam_search(logs, lengths, beam=6) == beam_search(padded, lengths, beam=6)


def test_a_wider_beam_finds_at_least_as_much():
    logs_SC = normalised(3, 20, 6)
    best = [
        beam_search_utterance(logs_SC, beam, threshold=0.0)[0].log_probability
        for beam in (1, 4, 16, 256)
    ]
    assert best == sorted(best)


def test_no_frames_are_no_labels():
    assert beam_search_utterance(np.zeros((0, 5)), beam=4)[0].labels == ()


def test_by_default_a_prefix_grows_by_classes_of_at_least_a_ten_thousandth():
    logs_SC = np.log([[0.5, 0.5 - 2e-4 - 5e-5, 2e-4, 5e-5]])
    found = {one.labels for one in beam_search_utterance(logs_SC, beam=9)}
    assert found == {(), (1,), (2,)}


def naive_prefix_search(logs_SC: np.ndarray, beam: int) -> tuple[int, ...]:
    """Return the best prefix by Hannun et al.'s algorithm, over all classes, in plain Python."""
    prefixes = {(): (0.0, -math.inf)}  # prefix -> ln p of its alignments by their last class
    for logs in logs_SC.tolist():
        found: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, label) in prefixes.items():
            total = np.logaddexp(blank, label)
            here = found.setdefault(prefix, [-math.inf, -math.inf])
            here[0] = np.logaddexp(here[0], total + logs[0])
            if prefix:
                here[1] = np.logaddexp(here[1], label + logs[prefix[-1]])
            for c, log in enumerate(logs[1:], 1):
                before = blank if prefix and c == prefix[-1] else total
                longer = found.setdefault((*prefix, c), [-math.inf, -math.inf])
                longer[1] = np.logaddexp(longer[1], before + log)
        kept = sorted(found.items(), key=lambda item: -np.logaddexp(*item[1]))[:beam]
        prefixes = {prefix: tuple(values) for prefix, values in kept}
    return max(prefixes, key=lambda prefix: np.logaddexp(*prefixes[prefix]))


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("beam", [2, 5])
def test_a_large_alphabet_is_searched_as_if_every_class_were_tried(sharpness: float, beam: int):
    rng = np.random.default_rng(int(10 * sharpness) + beam)
    logits_SC = sharpness * rng.standard_normal((12, 90)) + 1e-6 * rng.standard_normal((12, 90))
    logs_SC = logits_SC - np.logaddexp.reduce(logits_SC, axis=1, keepdims=True)
    found = beam_search_utterance(logs_SC, beam, threshold=0.0)[0].labels
    assert found == naive_prefix_search(logs_SC, beam)
