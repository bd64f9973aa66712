"""Tests of the answer: each sentence word for word, from runs whose errors are given."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.results.comparison.answer import sentences
from pipeline.results.comparison.arms import compare_runs
from pipeline.results.comparison.arms_table import arms_table
from pipeline.results.comparison.progress import next_step
from pipeline.results.summary.run_summary import RunSummary, RunSummaryState, SweepRun
from pipeline.runs.folder import Hypothesis, RunFolder
from tests.results.statistics.test_inference import draw_sweep

SPEAKERS = 10
LENGTH = 1000  # characters of each utterance


def make_run(
    arm: str,
    seed: int,
    errors: Sequence[int],
    *,
    dev_cer: float | None = None,
    speakers: Sequence[str] | None = None,
    lengths: Sequence[int] | None = None,
    state: RunSummaryState = "finished",
) -> RunSummary:
    """Return a run with one test utterance per number of errors, by a speaker each."""
    names = [f"s{n}" for n in range(len(errors))] if speakers is None else speakers
    totals = lengths or [LENGTH] * len(errors)
    hypotheses = [
        Hypothesis(
            *(f"u{n}", "test", "R", "H", wrong, total, 0, 0, wrong, total), *[0] * 6, speaker=name
        )
        for n, (wrong, total, name) in enumerate(zip(errors, totals, names, strict=True))
    ]
    cer = sum(errors) / max(sum(totals), 1)
    dev: dict[str, Any] = {
        "cer": cer if dev_cer is None else dev_cer, "epoch": 1, "updates": 9, "split": "dev",
        "wer": cer, "loss_per_character": 1.0, "reference_loss": 3.0, "input_dependence": 1.0,
    }  # fmt: skip
    rows: Any = [dev, {**dev, "cer": cer, "split": "test"}] if state == "finished" else []
    run = SweepRun(
        f"{arm}, seed {seed}", {"arm": arm, "train.seed": seed}, RunFolder(Path(f"{arm}-{seed}"))
    )
    return RunSummary(run=run, state=state, rows=rows, hypotheses=hypotheses)


def make_arm(name: str, cers: Sequence[float], **options: Any) -> list[RunSummary]:
    """Return a run per rate, with which every speaker is decoded."""
    return [
        make_run(name, seed, [round(cer * LENGTH)] * SPEAKERS, **options)
        for seed, cer in enumerate(cers)
    ]


def answer(*arms: list[RunSummary]) -> list[str]:
    return sentences(compare_runs([run for arm in arms for run in arm]))


# Where speakers do not matter, two arms of three seeds are compared by Student's t with 4 degrees
# of freedom, whose quantile is 2.776. Over seeds, both arms deviate by 10 %.
HIGH, LOW = (0.09, 0.10, 0.11), (0.036, 0.040, 0.044)


def test_a_difference_that_is_shown_has_its_size_and_interval():
    """6 points plus or minus 2.776 * sqrt((0.010^2 + 0.004^2) / 3), which is 1.73.

    The mean is 4 % times exp(2.776 * 0.1 / sqrt(3)) at most. With the logarithmic mean
    0.06 / log(2.5), the ratio is 0.4 times exp(0.0173 / 0.0655) at most: 48 to 69 % fewer errors.
    """
    assert answer(make_arm("mel", HIGH), make_arm("power", LOW)) == [
        (
            "Best on dev: power, mean test CER 4.0 % over 3 seeds (95 % interval 3.4 to 4.7). "
            "It is better than mel by 6.0 points (simultaneous 95 % interval 4.3 to 7.7), 60 % "
            "fewer errors (48 to 69 %)."
        ),
        (
            "The test WER of power is 4.0 % (95 % interval 3.4 to 4.7); by WER the verdict is the "
            "same."
        ),
    ]


def test_each_worse_arm_has_its_own_difference_and_ratio():
    """An arm that prints blanks gets no ratio of errors: its rate does not vary with the seed."""
    blank = make_arm("blank", [1.0] * 3)
    sentence, _ = answer(make_arm("mel", HIGH), make_arm("power", LOW), blank)
    assert re.sub(r"[\d.]+ to [\d.]+", "…", sentence) == (
        "Best on dev: power, mean test CER 4.0 % over 3 seeds (95 % interval …). It is better "
        "than mel by 6.0 points (simultaneous 95 % interval …), 60 % fewer errors (… %), and than "
        "blank by 96.0 points (…)."
    )


def test_the_next_step_names_the_best_run():
    shown = compare_runs([*make_arm("mel", HIGH), *make_arm("power", LOW)])
    (sentence,) = next_step(shown)
    assert "make decode RUN=power-0 " in sentence
    assert "make transcribe RUN=power-0 AUDIO=" in sentence
    (placed,) = next_step(shown, "make sweep SWEEP=a.yaml CLUSTER=c.yaml SEEDS=3 WORK='my work'")
    assert "make decode RUN=power-0 CLUSTER=c.yaml WORK='my work' adds a lexicon and an" in placed
    assert "make transcribe RUN=power-0 CLUSTER=c.yaml WORK='my work' AUDIO=" in placed
    blanks = compare_runs([*make_arm("mel", [1.0]), *make_arm("power", [1.0])])
    assert "State of each run" in next_step(blanks)[0]
    one_seed = compare_runs([*make_arm("mel", [0.1]), *make_arm("power", [0.04])])
    assert next_step(one_seed) == []  # the answer says to run it with three seeds


@pytest.mark.parametrize(
    ("values", "best", "expected"),
    [
        ((64, 128, 256), 256, ["Next: try model.hidden above 256, which is the highest"]),
        ((64, 128, 256), 64, ["Next: try model.hidden below 64, which is the lowest"]),
        ((64, 128, 256), 128, []),
        ((128, 256), 256, []),  # of two values each is at an end
        ((0.0, 0.2, 0.5), 0.0, []),  # nothing is below 0
        ((1, 2, 3), 1, []),
        ((None, 1.0, 20.0), 20.0, []),  # null is no number
        ((False, True, 2), 2, []),
    ],
)
def test_a_best_value_at_an_end_of_the_sweep_has_a_next_value(values, best, expected):
    runs = []
    for value in values:
        arm = make_arm(f"hidden {value}", LOW if value == best else HIGH)
        for run in arm:
            run.run.settings.update({"arm": "", "model.hidden": value})
        runs += arm
    *values_to_try, _ = next_step(compare_runs(runs))
    assert [text.removesuffix(" of this sweep.") for text in values_to_try] == expected


def test_a_value_at_an_end_of_a_setting_that_varies_with_another_one_says_nothing():
    runs = []
    for batch, epochs in ((8, 30), (16, 30), (32, 30), (64, 60)):
        arm = make_arm(f"batch {batch}", LOW if batch == 64 else HIGH)
        for run in arm:
            run.run.settings.update({"arm": "", "train.batch": batch, "train.epochs": epochs})
        runs += arm
    assert len(next_step(compare_runs(runs))) == 1


def test_where_nothing_is_shown_the_next_step_is_the_command_that_would_show_more():
    alike = compare_runs([*make_arm("mel", HIGH), *make_arm("power", (0.091, 0.1, 0.112))])
    first, second = next_step(alike, "make sweep SWEEP=a.yaml SEEDS=3")
    seeds = next(int(n) for n in re.findall(r"(\d+) seeds per arm", " ".join(sentences(alike))))
    assert first == (
        f"Next: make sweep SWEEP=a.yaml SEEDS={seeds} would show differences half as large; "
        "without that, choose by cost, because no arm is shown to be worse."
    )
    assert "make decode RUN=" in second
    (first, _) = next_step(alike, "make report RUN=1 RUN=2")
    assert "choose by cost" in first


def test_arms_that_cannot_be_told_apart_follow_the_worse_ones():
    """Tukey's quantile of three arms with 6 degrees of freedom is 3.068; they deviate by 9.6 %."""
    close = (0.040, 0.038, 0.045)
    sentence, _ = answer(make_arm("mel", HIGH), make_arm("power", LOW), make_arm("zca", close))
    assert re.sub(r"\), .* % fewer errors \(.*?\)", ")", sentence) == (
        "Best on dev: power, mean test CER 4.0 % over 3 seeds (95 % interval 3.5 to 4.6). It is "
        "better than mel by 6.0 points (simultaneous 95 % interval 4.2 to 7.8). It cannot be told "
        "apart from zca."
    )


def test_equal_arms_are_not_ranked_and_the_smallest_visible_difference_is_given():
    """(2.776 + 0.842) * sqrt(2 * 0.003^2 / 3) is 0.9 points; half of it needs 4 x 3 seeds."""
    mel, power = (0.027, 0.030, 0.033), (0.030, 0.033, 0.027)
    assert answer(make_arm("mel", mel), make_arm("power", power)) == [
        (
            "Best on dev: mel, mean test CER 3.0 % over 3 seeds (95 % interval 2.6 to 3.5). It "
            "cannot be told apart from power."
        ),
        (
            "The smallest difference that this sweep could have shown is 0.9 points (with a power "
            "of 80 %); 12 seeds per arm would show half of it."
        ),
        "The test WER of mel is 3.0 % (95 % interval 2.6 to 3.5); by WER the verdict is the same.",
    ]


def test_where_chance_comes_from_speakers_more_seeds_do_not_help():
    errors = [60, 140] * 5
    first, second = ([make_run(arm, seed, errors[:: 1 if arm == "a" else -1]) for seed in range(2)]
                     for arm in "ab")  # fmt: skip
    found = answer(first, second)
    assert found[0].endswith(" It cannot be told apart from b.")
    assert found[1].endswith(
        "; 40 test speakers would show half of it, more seeds alone would not."
    )  # four times as many
    step = next_step(compare_runs([*first, *second]), "make sweep SWEEP=a.yaml")[0]
    assert step.startswith("Next: 40 test speakers would show differences half as large (folds: ")


def test_an_arm_with_a_lower_test_cer_is_named_but_does_not_become_the_best():
    found = answer(make_arm("mel", HIGH, dev_cer=0.01), make_arm("power", LOW, dev_cer=0.02))
    assert found == [
        "Best on dev: mel, mean test CER 10.0 % over 3 seeds (95 % interval 8.5 to 11.7).",
        (
            "On test it is beaten by power by 6.0 points (simultaneous 95 % interval 4.3 to 7.7), "
            "but the best arm is selected on dev."
        ),
        (
            "The test WER of mel is 10.0 % (95 % interval 8.5 to 11.7); by WER the verdict is the "
            "same."
        ),
    ]


def test_one_seed_cannot_tell():
    assert answer(make_arm("mel", [0.1]), make_arm("power", [0.04])) == [
        "Best on dev: power, test CER 4.0 % with one seed.",
        (
            "One seed per arm cannot tell whether a difference is chance. Run it with three: "
            "make sweep SWEEP=… SEEDS=3"
        ),
    ]


def test_three_speakers_are_enough_and_are_no_second_reason():
    three = {"speakers": [f"s{n % 3}" for n in range(SPEAKERS)]}
    found = answer(make_arm("mel", [0.1], **three), make_arm("power", [0.04], **three))
    assert found[1:] == [
        (
            "One seed per arm cannot tell whether a difference is chance. Run it with three: "
            "make sweep SWEEP=… SEEDS=3"
        )
    ]


def test_while_runs_are_missing_the_answer_is_provisional():
    missing = [make_run(arm, 1, [], state="running") for arm in ("mel", "power")]
    assert answer(make_arm("mel", [0.1]), make_arm("power", [0.04]), missing) == [
        "Best on dev: power, test CER 4.0 % with one seed.",
        "Provisional: 2 of 4 runs are finished.",
        "One seed per arm cannot tell whether a difference is chance.",
    ]


def test_without_speakers_nothing_is_decided():
    nameless = {"speakers": [""] * SPEAKERS}
    assert answer(make_arm("mel", HIGH, **nameless), make_arm("power", LOW, **nameless)) == [
        "Best on dev: power, mean test CER 4.0 % over 3 seeds.",
        (
            "Nothing is decided, because hypotheses.csv does not name the speakers: the runs were "
            "trained by an earlier version, or the corpus does not name them."
        ),
    ]


@pytest.mark.parametrize(("count", "words"), [(1, "1 speaker"), (2, "2 speakers")])
def test_few_speakers_decide_nothing(count: int, words: str):
    few = {"speakers": [f"s{n % count}" for n in range(SPEAKERS)]}
    assert answer(make_arm("mel", HIGH, **few), make_arm("power", LOW, **few)) == [
        "Best on dev: power, mean test CER 4.0 % over 3 seeds.",
        (
            f"The test set has {words}; at least 3 are needed to tell whether a difference is "
            "chance; folds: in the corpus file tests all speakers of train and dev."
        ),
    ]


def test_three_speakers_decide():
    three = {"speakers": [f"s{n % 3}" for n in range(SPEAKERS)]}
    sentence, _, few = answer(make_arm("mel", HIGH, **three), make_arm("power", LOW, **three))
    assert "better than mel by 6.0 points" in sentence
    assert few.startswith("The test set has only 3 speakers, so the intervals are less certain: ")


def test_arms_that_print_blanks_are_not_usable_and_show_no_chance_of_seeds():
    blank = [1.0, 1.0]
    assert answer(make_arm("mel", blank), make_arm("power", blank)) == [
        "No usable arm: the best one on dev, mel, has mean test CER 100.0 % over 2 seeds."
    ]
    nearly = [0.95, 0.95]
    runs = [*make_arm("mel", nearly), *make_arm("power", nearly)]
    assert sentences(compare_runs(runs)) == [
        "No usable arm: the best one on dev, mel, has mean test CER 95.0 % over 2 seeds."
    ]
    assert "State of each run" in next_step(compare_runs(runs))[0]
    assert answer(make_arm("mel", [0.5]), make_arm("power", nearly))[1] == (
        "No arm with several seeds has left the blank plateau, so nothing is known about chance "
        "between seeds."
    )


def test_arms_without_an_error_show_no_chance_of_seeds():
    reason = (
        "No arm with several seeds that has left the blank plateau makes an error on test, so "
        "nothing is known about chance between seeds."
    )
    right = make_arm("power", [0.0] * 3)
    for other in (make_arm("mel", [0.0] * 3), make_arm("blank", [1.0] * 3)):
        sentence, *others = answer(right, other)
        assert sentence == "Best on dev: power, mean test CER 0.0 % over 3 seeds."
        assert reason in others


def test_before_a_run_has_finished_there_is_no_answer():
    waiting = [make_run("mel", seed, [], state="waiting") for seed in range(3)]
    assert answer(waiting) == ["No answer yet: 0 of 3 runs are finished."]
    failed = [make_run("mel", seed, [], state="failed") for seed in range(3)]
    assert answer(failed) == ["No answer: all 3 runs failed."]
    assert answer([*failed[:2], *waiting[2:]]) == ["No answer yet: 0 of 3 runs are finished."]


def test_one_arm_has_nothing_to_be_compared_with():
    """The interval is 10 % times exp(4.303 * 0.1 / sqrt(3)) at most, with 2 degrees of freedom."""
    (sentence,) = answer(make_arm("mel", HIGH))
    found = re.fullmatch(
        r"The only arm, mel, has mean test CER 10\.0 % over 3 seeds \(95 % interval (.*) to "
        r"(.*)\)\.",
        sentence,
    )
    assert found
    half = 0.1 * stats.t.ppf(0.975, 2) / math.sqrt(3)
    expected = [10 * math.exp(-half), 10 * math.exp(half)]
    assert [float(each) for each in found.groups()] == pytest.approx(expected, rel=0.01)


def test_an_arm_without_a_name_and_an_only_run_are_called_so():
    seeds = [make_run("", seed, [100] * SPEAKERS) for seed in range(3)]
    unnamed = [
        replace(run, run=replace(run.run, label=f"seed {seed}", settings={"train.seed": seed}))
        for seed, run in enumerate(seeds)
    ]
    assert answer(unnamed)[0].startswith("The only arm has mean test CER 10.0 % over 3 seeds")
    assert answer(make_arm("mel", [0.1])) == [
        "The only run, mel, has test CER 10.0 % with one seed."
    ]
    waiting = make_run("power", 0, [], state="waiting")
    assert answer(make_arm("mel", [0.1]), [waiting])[0] == (
        "The only arm with a result, mel, has test CER 10.0 % with one seed."
    )


def test_arms_with_different_test_sets_are_not_compared():
    other = make_arm("power", LOW)
    for run in other:
        object.__setattr__(run, "hypotheses", [])
    assert answer(make_arm("mel", HIGH), other) == [
        "Best on dev: power, mean test CER 4.0 % over 3 seeds.",
        "No test utterance was decoded by all runs, so nothing is said about differences.",
    ]


def test_a_smaller_common_test_set_is_mentioned():
    shorter = [make_run("power", seed, [round(cer * LENGTH)] * 7) for seed, cer in enumerate(LOW)]
    assert answer(make_arm("mel", HIGH), shorter)[-1] == (
        "The arms are compared on the 7 of 10 test utterances that all runs decoded with the "
        "same reference."
    )


def test_the_verdict_by_wer_is_printed_where_it_differs():
    def with_words(runs: list[RunSummary], cers: Sequence[float]) -> list[RunSummary]:
        for run, cer in zip(runs, cers, strict=True):
            words = [each._replace(word_errors=round(cer * LENGTH)) for each in run.hypotheses]
            object.__setattr__(run, "hypotheses", words)
        return runs

    mel = with_words(make_arm("mel", HIGH), (0.036, 0.041, 0.043))
    found = answer(mel, make_arm("power", LOW))
    assert "better than mel" in found[0]
    assert found[-1].endswith("; by WER, it cannot be told apart from mel.")


def test_the_command_that_adds_seeds_is_complete():
    runs = [*make_arm("mel", [0.1]), *make_arm("power", [0.04])]
    command = "make sweep SWEEP=configs/sweeps/a.yaml SEEDS=1 WORK=here"
    found = sentences(compare_runs(runs), command)[1]
    assert found.endswith(": make sweep SWEEP=configs/sweeps/a.yaml WORK=here SEEDS=3")


def test_of_many_arms_that_are_beaten_the_nearest_one_is_named():
    worse = [make_arm(f"a{n}", [cer * (4 + n / 10) for cer in LOW]) for n in reversed(range(8))]
    sentence, _ = answer(*worse, make_arm("best", LOW))
    assert sentence.count(" points ") == 1
    assert sentence.startswith(
        "Best on dev: best, mean test CER 4.0 % over 3 seeds (95 % interval 3.5 to 4.5). It is "
        "better than all 8 other arms; than the nearest of these, a0, by 12.0 points ("
    )


def test_of_many_arms_those_that_are_beaten_and_the_others_are_counted():
    worse = [make_arm(f"a{n}", [cer * (4 + n / 10) for cer in LOW]) for n in range(4)]
    alike = [make_arm(f"b{n}", [cer + 0.0001 * (n + 1) for cer in LOW]) for n in range(5)]
    sentence, by_words = answer(make_arm("best", LOW), *worse, *alike)
    assert "better than 4 of the 9 other arms; than the nearest of these, a0, by " in sentence
    assert sentence.endswith(" It cannot be told apart from 5 of the 9 other arms.")
    assert by_words.endswith("by WER the verdict is the same.")


def test_of_many_arms_none_may_be_told_apart():
    arms = [make_arm(f"a{n}", [0.1, 0.2, 0.15]) for n in range(5)]
    found = answer(*arms)
    assert found[0].endswith(" It cannot be told apart from any of the 4 other arms.")


def test_no_difference_of_more_than_all_characters_is_spoken_of():
    """One seed of each arm learns, the other prints blanks: chance is larger than any rate."""
    found = answer(make_arm("mel", (0.02, 0.9)), make_arm("power", (0.9, 0.02)))
    assert not re.search(r"\d{3}\.\d points", " ".join(found))
    assert "Chance is so large here" in found[1]


def test_sweeps_of_equal_arms_rarely_get_a_claim():
    """Twenty sweeps; at 5 % each, four claims or more have a probability of 1.6 %."""
    rng = np.random.default_rng(5)
    claims = 0
    for _ in range(20):
        arms, totals, speakers = draw_sweep(
            rng, [1.0] * 4, seeds=3, speakers=10, seed_deviation=0.1
        )
        runs = [
            [
                make_run(f"a{n}", seed, row.tolist(), speakers=speakers, lengths=totals.tolist())
                for seed, row in enumerate(arm)
            ]
            for n, arm in enumerate(arms)
        ]
        said = answer(*runs)
        claims += "better than" in said[0] or any("beaten" in each for each in said)
    assert claims <= 3


def test_the_table_has_a_line_per_arm_with_its_difference_to_the_best():
    mel, power = make_arm("mel", HIGH), make_arm("power", LOW, dev_cer=0.03)
    table = arms_table(compare_runs([*mel, *power]))
    high, best = table.to_dict("records")
    assert list(table.columns[:6]) == ["sweep", "corpus", "units", "label", "arm", "seeds"]
    assert (high["label"], high["arm"], high["seeds"], high["shown"]) == ("mel", "mel", 3, True)
    assert high["test_cer_mean"] == pytest.approx(0.1)
    assert high["test_cer_deviation"] == pytest.approx(0.01)
    assert high["difference"] == pytest.approx(0.06)
    assert high["difference_low"] == pytest.approx(0.06 - 0.01726, abs=5e-4)
    assert high["difference_high"] == pytest.approx(0.06 + 0.01726, abs=5e-4)
    assert high["p_adjusted"] == pytest.approx(6.5e-4, abs=1e-3)  # of t = 9.65, 4 degrees
    assert (best["difference"], best["shown"], best["dev_cer_mean"]) == (0.0, False, 0.03)
    assert math.isnan(best["difference_low"])


def test_the_table_of_no_arms_has_its_columns():
    assert "test_cer_mean" in arms_table(compare_runs([])).columns


def stopped(run: RunSummary) -> RunSummary:
    return replace(run, state="stopped early", rows=list(run.rows)[:1])


def test_an_arm_with_a_run_that_was_stopped_early_is_not_compared():
    """Its other seeds are the better ones, so their mean would be too good."""
    lucky = make_arm("mel", (0.001, 0.001, 0.001))
    lucky[2] = stopped(lucky[2])
    first, note, *_ = answer(lucky, make_arm("power", LOW), make_arm("zca", HIGH))
    assert first.startswith("Best on dev: power, mean test CER 4.0 % over 3 seeds")
    assert "mel" not in first
    assert note == "Stopped early by the sweep's rules, so not compared: mel (1 of 3 runs)."


def test_where_every_arm_was_stopped_there_is_no_answer():
    arms = [[*map(stopped, make_arm("mel", HIGH))], [*map(stopped, make_arm("power", LOW))]]
    assert answer(*arms) == [
        "No answer: every arm has runs that were stopped early.",
        (
            "Stopped early by the sweep's rules, so not compared: mel (3 of 3 runs), "
            "power (3 of 3 runs)."
        ),
    ]


def test_runs_that_were_stopped_early_do_not_make_an_answer_provisional():
    running = replace(make_arm("mel", HIGH)[0], state="running")
    arms = (make_arm("power", LOW), make_arm("zca", HIGH), [*map(stopped, make_arm("a", HIGH))])
    assert not any("Provisional" in sentence for sentence in answer(*arms))
    provisional = "Provisional: 6 of 10 runs are finished."
    assert provisional in answer(*arms, [running])


def test_units_other_than_words_have_their_own_rate_and_no_wer():
    """A corpus of phonemes: the rates are PER, and nothing is said of words."""
    corpus = Corpus(name="c", reader="pairs", units="phonemes")
    runs = [
        replace(
            run,
            experiment=Experiment(corpus=corpus),
            hypotheses=[each._replace(words=0, word_errors=0) for each in run.hypotheses],
        )
        for arm in (make_arm("high", HIGH), make_arm("low", LOW))
        for run in arm
    ]
    found = " ".join(sentences(compare_runs(runs)))
    assert "Best on dev: low, mean test PER 4.0 %" in found
    assert "WER" not in found
    assert "CER" not in found
    (step,) = next_step(compare_runs(runs))
    assert " SET=words=any adds an n-gram model; make transcribe RUN=" in step


def test_the_answer_says_which_expectations_held():
    arms = [*make_arm("mel", HIGH), *make_arm("power", LOW), *make_arm("zca", (0.04, 0.038, 0.045))]
    lines = ("power < mel", "zca < mel", "mel < zca", "power < zca", "power = zca", "power = mel")
    expect = [Expectation(*line.split()) for line in (*lines, "power < none")]
    comparison = compare_runs(arms)
    power, zca = (
        next(n for n, arm in enumerate(comparison.arms) if arm.name == name)
        for name in ("power", "zca")
    )
    interval = comparison.inference.difference(power, zca)
    largest = 100 * max(abs(interval.low), abs(interval.high))
    assert sentences(comparison, expect=expect)[1:6] == [
        (
            "As expected: power better than mel; zca better than mel; power not told apart from "
            f"zca (a difference of up to {largest:.1f} points is not excluded)."
        ),
        "Expected, but the opposite is shown: mel better than zca.",
        "Expected, but a difference is shown: power not told apart from mel.",
        "Expected, but not shown: power better than zca.",
        "Expected, not known yet: power better than none.",
    ]
    one_seed = compare_runs([*make_arm("mel", [0.1]), *make_arm("power", [0.04])])
    found = sentences(one_seed, expect=[Expectation("power", "<", "mel")])
    assert "Expected, not known yet: power better than mel." in found
