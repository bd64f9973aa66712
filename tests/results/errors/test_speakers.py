"""Tests of speakers that stand apart: how often equal ones are named, and how often noise is."""

import numpy as np
import pytest
from scipy import stats

from pipeline.results.errors.speakers import LEVEL, find_apart_speakers

SIMULATIONS = 60


def draw_corpus(
    draw: np.random.Generator, speakers: int, utterances: int, *, spread: float = 0, noisy: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Errors, characters and speakers of utterances; the first speakers' sound is noise.

    The error rate differs from utterance to utterance, as that of real ones does.
    """
    names = np.repeat(np.arange(speakers), utterances)
    chars = draw.integers(5, 45, size=len(names))
    rates = 0.12 * np.exp(spread * draw.normal(size=speakers))[names]
    rates = np.minimum(rates * draw.gamma(1.0, size=len(names)), 1)
    rates[names < noisy] = 0.9
    errors = draw.binomial(chars, rates)
    return errors.astype(float), chars.astype(float), [f"s{name:03}" for name in names]


@pytest.mark.parametrize(("speakers", "utterances"), [(4, 25), (10, 13), (30, 6)])
def test_equal_speakers_are_named_in_at_most_5_percent_of_reports(speakers: int, utterances: int):
    named = 0
    for number in range(SIMULATIONS):
        draw = np.random.default_rng([number, speakers])
        corpus = draw_corpus(draw, speakers, utterances)
        named += bool(find_apart_speakers(*corpus, seed=number))
    assert named <= stats.binom.ppf(0.999, SIMULATIONS, LEVEL)


def test_speakers_who_differ_by_nature_are_named_in_at_most_a_quarter_of_reports():
    named = 0
    for number in range(SIMULATIONS):
        draw = np.random.default_rng([number, 5])
        corpus = draw_corpus(draw, 20, 8, spread=0.4)
        named += bool(find_apart_speakers(*corpus, seed=number))
    assert named <= SIMULATIONS / 4


def test_a_speaker_whose_sound_is_noise_is_named_among_speakers_that_differ():
    found = []
    for number in range(20):
        draw = np.random.default_rng([number, 7])
        corpus = draw_corpus(draw, 10, 13, spread=0.3, noisy=1)
        found.append([each.speaker for each in find_apart_speakers(*corpus, seed=number)])
    assert sum("s000" in names for names in found) >= 17
    assert sum(names == ["s000"] for names in found) >= 15


def test_the_rates_of_a_named_speaker_and_of_the_others_are_those_of_their_characters():
    errors, chars = np.full(60, 1.0), np.full(60, 20.0)
    errors[:10] = 18.0
    (found,) = find_apart_speakers(errors, chars, [f"s{n // 10}" for n in range(60)])
    assert (found.speaker, found.cer, found.cer_of_others) == ("s0", 0.9, 0.05)
    assert found.p <= LEVEL


@pytest.mark.parametrize(
    "names", [["a", "b", "c"], ["a", "b", "c", ""], ["a"] * 4], ids=["few", "unknown", "one"]
)
def test_few_or_unknown_speakers_are_not_judged(names: list[str]):
    speakers = [name for name in names for _ in range(10)]
    errors = np.zeros(len(speakers))
    errors[:10] = 20
    assert find_apart_speakers(errors, np.full(len(speakers), 20.0), speakers) == []


def test_without_an_error_nobody_stands_apart():
    speakers = [f"s{n}" for n in range(40)]
    assert find_apart_speakers(np.zeros(40), np.full(40, 9.0), speakers) == []


def test_the_answer_is_the_same_each_time_and_in_any_order():
    corpus = draw_corpus(np.random.default_rng(3), 10, 13, noisy=1)
    one = find_apart_speakers(*corpus)
    assert one == find_apart_speakers(*corpus)
    backwards = (corpus[0][::-1], corpus[1][::-1], corpus[2][::-1])
    assert [each.speaker for each in find_apart_speakers(*backwards)] == ["s000"]
