"""Cross-validation: one run of each fold counts as one run; folds are the units of chance."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.corpus import Corpus
from pipeline.results.comparison.answer import sentences
from pipeline.results.comparison.arms import compare_runs
from pipeline.results.comparison.arms_table import arms_table
from pipeline.results.comparison.progress import next_step
from pipeline.results.comparison.test_sets import find_common_test
from pipeline.results.effects.settings import find_effects
from pipeline.results.errors.arms import gather_arms
from pipeline.results.summary.run_summary import RunSummary, read_run
from pipeline.results.tables.captions import describe_origin
from pipeline.results.tables.thesis import arms_for_thesis
from pipeline.runs.folder import Hypothesis, RunFolder
from tests.results.examples import NOW, make_run

FOLDS, UTTERANCES, CHARS = 5, 12, 30


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    return read_run(make_run(Path(tmp_path_factory.mktemp("run")), "run"), NOW)


def run_of_fold(one: RunSummary, arm: str, seed: int, errors: np.ndarray) -> RunSummary:
    """Return the run of an arm that made these errors (utterances) in its fold."""
    fold = seed % FOLDS
    example = one.hypotheses_for("test")[0]
    hypotheses = [
        example._replace(
            utterance_id=f"{fold}-{number}",
            reference="A" * CHARS,
            hypothesis="A" * (CHARS - int(count)),
            speaker=f"speaker {fold}-{number % 4}",
            chars=CHARS,
            char_errors=int(count),
            words=1,
            word_errors=int(count > 0),
        )
        for number, count in enumerate(errors)
    ]
    assert one.experiment is not None
    corpus = Corpus(name="an4", reader="an4", root="an4", folds=FOLDS, fold=fold)
    train = one.experiment.train.model_copy(update={"seed": seed})
    total = int(errors.sum())
    changed = {"char_errors": total, "chars": CHARS * len(errors),
               "cer": total / (CHARS * len(errors))}  # fmt: skip
    rows = [{**row, **changed} if row["split"] == "test" else row for row in one.rows]
    settings = {"model.cell": arm, "train.seed": seed}
    return replace(
        one,
        rows=rows,  # type: ignore[arg-type]
        hypotheses=hypotheses,
        experiment=one.experiment.model_copy(update={"corpus": corpus, "train": train}),
        run=replace(one.run, label=f"{arm}, seed {seed}", settings=settings,
                    folder=RunFolder(Path(f"/{arm}-{seed}"))),
    )  # fmt: skip


def sweep(one: RunSummary, seeds: range, rates: dict[str, float]) -> list[RunSummary]:
    rng = np.random.default_rng(4)
    return [
        run_of_fold(one, arm, seed, rng.binomial(CHARS, rate, UTTERANCES))
        for arm, rate in rates.items()
        for seed in seeds
    ]


def test_one_run_of_each_fold_together_is_a_run(finished: RunSummary):
    runs = sweep(finished, range(FOLDS), {"gru": 0.1, "lstm": 0.4})
    found = compare_runs(runs)
    assert [len(arm.runs) for arm in found.arms] == [FOLDS, FOLDS]
    assert found.common_utterances == FOLDS * UTTERANCES
    assert found.folds == FOLDS
    assert found.inference is not None
    difference = found.inference.difference(1, 0)
    assert difference.is_shown  # 0.3 with 1,800 characters
    totals = [sum(each.char_errors for run in arm.runs for each in run.hypotheses_for("test"))
              for arm in found.arms]  # fmt: skip
    rates = [total / (FOLDS * UTTERANCES * CHARS) for total in totals]
    assert difference.difference == pytest.approx(rates[1] - rates[0])
    assert [arm.mean_test_cer for arm in found.arms] == pytest.approx(rates)
    said = sentences(found)
    assert f"by cross-validation, {FOLDS} runs on {FOLDS} folds (95 % interval" in said[0]
    assert "seed" not in said[0]


def test_captions_name_the_folds_and_no_seeds(finished: RunSummary):
    found = compare_runs(sweep(finished, range(FOLDS), {"gru": 0.1, "lstm": 0.4}))
    assert found.common_utterances == found.common_words == FOLDS * UTTERANCES
    assert found.common_characters == FOLDS * UTTERANCES * CHARS
    arms = arms_for_thesis(arms_table(found), found, "search", [])
    for text in (arms.caption, describe_origin(found, "search", [])):
        assert f"{FOLDS} folds" in text
        assert "seed" not in text
    assert "the rate of all errors ± the standard deviation of the runs’ rates" in arms.caption
    assert "simultaneous 95 % interval over folds." in arms.caption
    together = "Test sets of 5 folds: an4, 60 utterances of 20 speakers, 1800 characters. "
    assert together in arms.caption


def test_equal_arms_are_not_told_apart_and_the_folds_are_named(finished: RunSummary):
    found = compare_runs(sweep(finished, range(FOLDS), {"gru": 0.2, "lstm": 0.2}))
    said = " ".join(sentences(found))
    assert "cannot be told apart" in said
    assert "seeds per arm" not in said


def test_folds_that_show_no_difference_ask_for_no_more_seeds(finished: RunSummary):
    """More folds do not add speakers."""
    found = compare_runs(sweep(finished, range(FOLDS), {"gru": 0.2, "lstm": 0.23}))
    assert len(found.not_told_apart) == 1
    assert next_step(found, "make sweep SWEEP=a.yaml")[0] == (
        "Next: choose by cost, because no arm is shown to be worse."
    )


def test_a_fold_that_an_arm_lacks_is_compared_for_no_arm(finished: RunSummary):
    runs = sweep(finished, range(FOLDS), {"gru": 0.1, "lstm": 0.4})[:-1]
    found = compare_runs(runs)
    assert found.folds == FOLDS - 1
    assert found.common_utterances == (FOLDS - 1) * UTTERANCES
    assert (
        "The arms are compared on the 48 of 60 test utterances that all arms decoded with the same "
        "reference."
    ) in sentences(found)
    together = "Test sets of 5 folds: an4, 60 utterances of 20 speakers, 1800 characters. "
    assert together in arms_for_thesis(arms_table(found), found, "search", []).caption


def test_a_second_seed_of_a_fold_counts_when_each_fold_has_one(finished: RunSummary):
    for seeds, counted in ((7, 1), (10, 2)):
        runs = sweep(finished, range(seeds), {"gru": 0.1, "lstm": 0.4})
        arms = [[run for run in runs if run.run.label.startswith(name)] for name in ("gru", "lstm")]
        assert [len(arm) for arm in find_common_test(arms).arms] == [counted, counted]


def test_too_few_folds_decide_nothing(finished: RunSummary):
    found = compare_runs(sweep(finished, range(2), {"gru": 0.1, "lstm": 0.4}))
    assert "All arms have tested 2 folds; at least 3 are needed" in " ".join(sentences(found))
    one = compare_runs(sweep(finished, range(1), {"gru": 0.1, "lstm": 0.4}))
    assert re.search(r"^Best on dev: \w+, test CER [\d.]+ % on one fold\.", sentences(one)[0])
    assert "cross-validation on 1 fold, " in arms_for_thesis(arms_table(one), one, "s", []).caption


def test_the_variance_over_folds_holds_that_over_seeds(finished: RunSummary):
    effects = find_effects(compare_runs(sweep(finished, range(FOLDS), {"gru": 0.1, "lstm": 0.4})))
    assert effects is not None
    assert [each.source for each in effects.parts] == [
        *("model.cell", "folds that favour an arm", "folds, for all arms")
    ]


def test_errors_are_those_of_all_folds(finished: RunSummary):
    found = compare_runs(sweep(finished, range(FOLDS), {"gru": 0.1, "lstm": 0.4}))
    arm = gather_arms(found)[0]
    assert len(arm.shown) == FOLDS * UTTERANCES
    assert isinstance(arm.shown[0], Hypothesis)
    assert arm.guide_run in found.arms[0].runs
