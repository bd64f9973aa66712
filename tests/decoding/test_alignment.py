"""Forced alignment against torchaudio and against every path of short utterances."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding.alignment import align, align_batch


def random_logs(seed: int, frames: int, classes: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(classes, 0.4), frames)).clip(-30).astype(np.float32)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.lists(st.integers(1, 3), max_size=4))
def test_the_score_is_that_of_the_best_of_all_paths(seed, frames, labels):
    logs = random_logs(seed, frames, 4)
    paths = (p for p in itertools.product(range(4), repeat=frames) if collapse(p) == labels)
    scores = [sum(float(logs[frame, c]) for frame, c in enumerate(path)) for path in paths]
    found = align(logs, labels)
    if not labels or not scores:
        assert found is None
    else:
        assert found is not None
        assert found.score == pytest.approx(max(scores), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_torchaudio_finds_the_same_frames(seed, labels):
    functional = pytest.importorskip("torchaudio.functional", reason="torchaudio needs its torch")
    frames = 3 * len(labels) + 4
    logs = random_logs(seed, frames, 6)
    path, scores = functional.forced_align(
        torch.from_numpy(logs)[None], torch.tensor([labels]), blank=0
    )
    spans = functional.merge_tokens(path[0], scores[0])
    found = align(logs, labels)
    assert found is not None
    assert found.score == pytest.approx(float(scores.sum()), abs=1e-3)
    if [span.token for span in spans] == labels:
        assert found.begins.tolist() == [span.start for span in spans]
        assert found.ends.tolist() == [span.end for span in spans]


def test_frames_and_scores_of_a_clear_utterance():
    logs = np.full((7, 3), -8.0, np.float32)
    for frame, label in enumerate((0, 1, 1, 0, 1, 2, 0)):
        logs[frame, label] = -0.5
    found = align(logs, [1, 1, 2])
    assert found is not None
    assert found.begins.tolist() == [1, 4, 5]
    assert found.ends.tolist() == [3, 5, 6]
    assert found.label_scores.tolist() == pytest.approx([-0.5, -0.5, -0.5])
    assert found.excess == pytest.approx(0)
    wrong = align(logs, [2, 2, 2])
    assert wrong is not None
    assert wrong.excess > 5


def test_too_few_frames_have_no_alignment():
    logs = random_logs(0, 3, 4)
    assert align(logs, [1, 1, 2]) is None  # needs 4 frames
    assert align(logs, [1, 2, 3]) is not None
    assert align(logs[:0], [1]) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_batch_gives_what_each_utterance_gives_alone(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 9, (6, 2))
    logs = [random_logs(seed + n, int(frames), 4) for n, (frames, _) in enumerate(sizes)]
    texts = [rng.integers(1, 4, int(count)).tolist() for _, count in sizes]
    for found, log, text in zip(align_batch(logs, texts), logs, texts, strict=True):
        alone = align(log, text)
        assert (found is None) == (alone is None)
        if found and alone:
            assert found.score == alone.score
            assert found.begins.tolist() == alone.begins.tolist()
            assert found.ends.tolist() == alone.ends.tolist()
