"""Tests of speakers that stand apart: how often equal ones are named, and how often noise is."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipeline.files import write_text
from pipeline.results.errors.speakers import (
    LEVEL,
    describe_apart_in_run,
    find_apart_speakers,
)
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis, hypotheses_to_csv

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
    assert (found.speaker, found.value, found.value_of_others) == ("s0", 0.9, 0.05)
    assert found.p <= LEVEL


def test_nobody_stands_apart_by_a_few_errors_where_nearly_all_is_right():
    errors, chars = np.zeros(600), np.full(600, 20.0)
    errors[:100:2] = 1.0  # 2.5 % of the first speaker's characters
    names = [f"s{n // 100}" for n in range(600)]
    assert find_apart_speakers(errors, chars, names) == []
    (found,) = find_apart_speakers(3 * errors, chars, names)
    assert found.speaker == "s0"


@pytest.mark.parametrize(
    "names", [["a", "b", "c"], ["a", "b", "c", ""], ["a"] * 4], ids=["few", "unknown", "one"]
)
def test_few_or_unknown_speakers_are_not_judged(names: list[str]):
    speakers = [name for name in names for _ in range(10)]
    errors = np.zeros(len(speakers))
    errors[:10] = 20
    assert find_apart_speakers(errors, np.full(len(speakers), 20.0), speakers) == []


def test_where_nearly_all_is_wrong_nobody_stands_apart_by_a_character_or_two():
    errors = np.full(80, 19.5)
    errors[:10] = 20.0
    speakers = [f"s{n // 10}" for n in range(80)]
    assert find_apart_speakers(errors, np.full(80, 20.0), speakers) == []


def test_without_an_error_nobody_stands_apart():
    speakers = [f"s{n}" for n in range(40)]
    assert find_apart_speakers(np.zeros(40), np.full(40, 9.0), speakers) == []


def test_the_answer_is_the_same_each_time_and_in_any_order():
    corpus = draw_corpus(np.random.default_rng(3), 10, 13, noisy=1)
    one = find_apart_speakers(*corpus)
    assert one == find_apart_speakers(*corpus)
    backwards = (corpus[0][::-1], corpus[1][::-1], corpus[2][::-1])
    assert [each.speaker for each in find_apart_speakers(*backwards)] == ["s000"]


def score_speakers(split: str, noisy: str, lost: str = "") -> list[Hypothesis]:
    """Ten utterances of each of six speakers; nothing of one of them is recognised.

    The losses of speaker `lost` are five times those of the others; one of speaker a is infinite.
    """
    return [
        Hypothesis.of(
            f"{split}-{speaker}-{n}",
            split,
            reference="GOOD MORNING",
            hypothesis="" if speaker == noisy else "GOOD MORNIN",
            speaker=speaker,
            loss=np.inf if (speaker, n) == ("a", 0) else 60.0 if speaker == lost else 12.0,
        )
        for speaker in "abcdef"
        for n in range(10)
    ]


def test_a_run_names_the_speakers_that_stand_apart_in_test_and_in_train(tmp_path: Path):
    run = RunFolder(tmp_path)
    assert describe_apart_in_run(run, []) == []  # it has not finished
    write_text(run.hypotheses_file, hypotheses_to_csv(score_speakers("test", "")))
    assert describe_apart_in_run(run, []) == []  # all are equal, and train is of an early version
    others = score_speakers("dev", "")
    write_text(run.hypotheses_file, hypotheses_to_csv([*others, *score_speakers("test", "b")]))
    training = score_speakers("train", "c")
    listen = "Listen to a recording of each: the audio or the transcripts may be damaged."
    apart = "Speakers that stand apart in this run"
    assert describe_apart_in_run(run, training) == [
        f"{apart}: b, test CER 100.0 %, the others 8.3 %. {listen}",
        f"{apart}: c, training CER 100.0 %, the others 8.3 %. {listen}",
    ]


@pytest.mark.parametrize(("noisy", "shortest", "longest"), [(0, 0, 1), (1, 6, 10)])
def test_a_speaker_whose_losses_are_those_of_noise_is_named_and_nobody_else_is(
    noisy: int, shortest: int, longest: int
):
    """Ten trainings; about 1.6 nats per character, 5.7 of noise, as after 8 epochs of AN4."""
    named = []
    for number in range(10):
        draw = np.random.default_rng([number, 11])
        names = np.repeat(np.arange(8), 13)
        chars = draw.integers(5, 45, size=len(names)).astype(float)
        level = np.where(names < noisy, 5.7, 1.6) * np.exp(0.15 * draw.normal(size=8))[names]
        losses = chars * level * draw.gamma(8.0, 1 / 8, size=len(names))
        speakers = [f"s{name}" for name in names]
        named.append(
            [each.speaker for each in find_apart_speakers(losses, chars, speakers, "losses")]
        )
    assert shortest <= sum(map(bool, named)) <= longest
    assert all(names in ([], ["s0"]) for names in named if noisy)


def test_a_run_names_a_speaker_by_losses_where_the_errors_name_nobody(tmp_path: Path):
    run = RunFolder(tmp_path)
    dev = score_speakers("dev", "", lost="d")
    write_text(run.hypotheses_file, hypotheses_to_csv(dev))
    (sentence,) = describe_apart_in_run(run, [])
    assert sentence.startswith(
        "Speakers that stand apart in this run: d, dev loss 5.00 nats per character, the others "
        "1.00. Listen to a recording of each"
    )
