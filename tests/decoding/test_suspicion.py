"""Which transcripts are far from the rest: invented scores whose truth is known."""

import math

import numpy as np

from pipeline.decoding.suspicion import find_suspicions, is_unread


def usual(count: int) -> list[float]:
    """Scores of a network that reads its split well: 0.2 to 0.6 nats per letter, 10 letters."""
    rng = np.random.default_rng(0)
    return (-10 * rng.normal(0.4, 0.1, count).clip(0.05)).tolist()


def test_what_is_far_from_the_rest_is_named_and_nothing_else():
    scores = [*usual(300), -60.0, -math.inf]
    found = find_suspicions(scores, [10] * 302, [5.0] * 302)
    far = [n for n, each in enumerate(found) if each.is_far]
    assert far == [300, 301]
    assert found[300].ratio > 1 > max(each.ratio for each in found[:300])


def test_a_transcript_that_is_the_best_text_of_all_is_never_far():
    """The network is unsure, but it would write the same."""
    found = find_suspicions([*usual(300), -60.0], [10] * 301, [0.0] * 301)
    assert not any(each.is_far for each in found)


def test_a_missed_letter_of_a_short_word_counts_less_than_a_wrong_text():
    found = find_suspicions([*usual(300), -2.5, -25.0], [10] * 300 + [2, 20], [3.0] * 302)
    assert not found[300].is_far  # 1.25 nats per letter, as the next one
    assert found[301].is_far


def test_a_network_that_learnt_all_by_heart_names_no_small_difference():
    found = find_suspicions([-0.001] * 100 + [-0.1, -30.0], [10] * 102, [1.0] * 102)
    assert [n for n, each in enumerate(found) if each.is_far] == [101]


def test_few_utterances_have_no_usual_score():
    found = find_suspicions([-1.0, -1.0, -90.0], [10] * 3, [9.0] * 3)
    assert not any(each.is_far for each in found)


def test_a_network_that_reads_nothing_is_told():
    assert is_unread(find_suspicions([-40.0] * 30, [10] * 30, [1.0] * 30))
    assert not is_unread(find_suspicions(usual(30), [10] * 30, [1.0] * 30))
