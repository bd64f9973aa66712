"""Greedy search against a loop that collapses each path by hand."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.greedy_search import collapse_paths, greedy_search


def collapse(path: list[int]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != 0]


@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=4))
def test_repeats_are_merged_before_blanks_are_dropped(paths: list[list[int]]):
    lengths = np.array([(3 * i) % 8 for i in range(1, len(paths) + 1)])
    expected = [collapse(path[:n]) for path, n in zip(paths, lengths, strict=True)]
    assert collapse_paths(np.array(paths), lengths) == expected
    assert greedy_search(np.eye(4)[np.array(paths)], lengths) == expected


def test_padding_does_not_change_the_labels():
    scores = np.random.default_rng(0).normal(size=(2, 12, 6))
    padding = 50 * np.random.default_rng(1).normal(size=(2, 5, 6))
    lengths = np.array([12, 7])
    padded = greedy_search(np.concatenate([scores, padding], 1), lengths)
    assert padded == greedy_search(scores, lengths) != [[], []]
