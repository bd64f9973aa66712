"""Tests of the comparison of runs against their own rows and hypotheses."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.sweep import load_sweep
from pipeline.files import InputError
from pipeline.results.comparison.arms import compare_runs, group_arms
from pipeline.results.comparison.run_description import describe_run
from pipeline.results.summary.run_summary import RunSummary, SweepRun, read_run
from pipeline.runs.folder import RunFolder
from tests.results.comparison.test_answer import make_arm
from tests.results.comparison.test_answer import make_run as make_scored_run
from tests.results.examples import NEVER_ESCAPES, NOW, RunScenario, make_run


@pytest.fixture(scope="module")
def summaries(sweep_runs: list[SweepRun]) -> list[RunSummary]:
    return [read_run(run, NOW) for run in sweep_runs]


def with_test_cer(one: RunSummary, cer: float) -> RunSummary:
    rows = [{**row, "cer": cer} if row["split"] == "test" else row for row in one.rows]
    return replace(one, rows=rows)  # type: ignore[arg-type]


def test_the_best_run_is_chosen_on_dev_and_not_on_test(summaries: list[RunSummary]):
    lucky = with_test_cer(summaries[2], 0.001)
    found = compare_runs([summaries[0], summaries[1], lucky, *summaries[3:]])
    assert found.best is summaries[1]
    assert found.best_arm is not None
    assert found.best_arm.runs == (summaries[1],)


def test_a_run_above_the_reference_line_is_not_the_best_whatever_its_cer(
    summaries: list[RunSummary],
):
    chosen = summaries[0].selected_dev_row
    assert chosen is not None
    untrained = {"cer": 0.001, "loss_per_character": chosen["reference_loss"] + 1.0}
    rows = [{**row, **untrained} if row is chosen else row for row in summaries[0].rows]
    lucky = replace(summaries[0], rows=rows)  # type: ignore[arg-type]
    assert compare_runs([lucky, summaries[1]]).best is summaries[1]
    assert compare_runs([summaries[1], lucky]).best is summaries[1]


def test_a_run_that_has_not_finished_cannot_be_the_best(summaries: list[RunSummary]):
    assert compare_runs([summaries[4], summaries[5], summaries[6]]).best is None


def test_among_runs_with_empty_hypotheses_the_one_with_the_lower_loss_is_best(tmp_path: Path):
    scenario = replace(NEVER_ESCAPES, epochs=2, utterances=4)
    runs = [
        make_run(tmp_path / "high", "high", scenario=replace(scenario, first_loss=500.0)),
        make_run(tmp_path / "low", "low", scenario=scenario),
    ]
    found = compare_runs([read_run(run, NOW) for run in runs])
    assert found.best is not None
    assert found.best.run.label == "low"


def test_a_difference_is_that_of_the_two_rates_and_lies_in_its_interval(
    summaries: list[RunSummary],
):
    found = compare_runs(summaries)
    assert found.best is not None
    assert found.best.test_row is not None
    assert [one.run_summary.run.label for one in found.differences] == [
        "amplitude",
        "power",
        "first training",
    ]
    for one in found.differences:
        assert one.run_summary.test_row is not None
        expected = one.run_summary.test_row["cer"] - found.best.test_row["cer"]
        assert one.cer.difference == pytest.approx(expected)
        assert one.cer.low <= one.cer.difference <= one.cer.high
        of_best = found.best.hypotheses_for("test")
        words_of_best = {each.utterance_id: each.word_errors for each in of_best}
        change = [
            each.word_errors - words_of_best[each.utterance_id]
            for each in one.run_summary.hypotheses_for("test")
        ]
        assert one.utterances == len(change)
        assert one.words.difference == pytest.approx(np.mean(change))
        z = np.mean(change) / (np.std(change, ddof=1) / math.sqrt(len(change)))
        assert one.words.z == pytest.approx(z)


def test_two_identical_runs_have_a_probability_of_a_half(summaries: list[RunSummary]):
    twin = replace(summaries[1], run=replace(summaries[1].run, label="twin"))
    (one,) = compare_runs([summaries[1], twin]).differences
    assert (one.cer.difference, one.cer.probability) == (0.0, 0.5)


def test_runs_are_compared_on_the_utterances_that_both_have(summaries: list[RunSummary]):
    fewer = replace(summaries[2], hypotheses=summaries[2].hypotheses[::2])
    difference = compare_runs([summaries[1], fewer]).differences[0]
    assert 0 < difference.utterances < 30
    other = replace(summaries[2], hypotheses=())
    assert compare_runs([summaries[1], other]).differences == ()


def test_runs_that_left_the_plateau_are_in_the_order_of_their_escape(summaries: list[RunSummary]):
    found = compare_runs(summaries)
    escapes = [one.escape_updates for one in found.escaped]
    assert escapes == sorted(escapes, key=lambda updates: updates or math.inf)
    assert [one.run.label for one in found.not_escaped] == ["first training"]


def test_seeds_are_gathered_and_their_mean_and_deviation_are_numpys(tmp_path: Path):
    runs = [
        make_run(
            tmp_path / f"{spectrum}-{seed}",
            f"{spectrum} {seed}",
            {"features.spectrum": spectrum, "train.seed": seed},
            RunScenario(escape_updates=60, epochs=3, utterances=8, seed=seed),
        )
        for spectrum in ("mel", "power")
        for seed in (0, 1, 2)
    ]
    found = compare_runs([read_run(run, NOW) for run in runs])
    assert [group.settings for group in found.arms] == [
        {"features.spectrum": "mel"},
        {"features.spectrum": "power"},
    ]
    assert [arm.name for arm in found.arms] == ["features.spectrum mel", "features.spectrum power"]
    rates = found.arms[0].test_cers
    assert len(rates) == 3
    assert found.arms[0].mean_test_cer == pytest.approx(np.mean(rates))
    assert found.arms[0].standard_deviation == pytest.approx(np.std(rates, ddof=1))


def test_labelled_arms_are_kept_apart_and_a_run_without_escape_counts_as_latest(tmp_path: Path):
    escapes = {"repaired": (200, 100, math.inf), "first": (math.inf, 100, math.inf)}
    runs = [
        make_run(
            tmp_path / f"{arm}-{seed}",
            f"{arm}, seed {seed}",
            {"train.seed": seed},
            RunScenario(escape_updates=escape, epochs=9, utterances=5, seed=seed),
        )
        for arm, updates in escapes.items()
        for seed, escape in enumerate(updates)
    ]
    repaired, first = compare_runs([read_run(run, NOW) for run in runs]).arms
    assert (repaired.name, first.name) == ("repaired", "first")
    assert (len(repaired.escapes), len(first.escapes)) == (2, 1)
    assert repaired.escapes == sorted(repaired.escapes)
    assert (
        repaired.median_escape_updates == repaired.escapes[1]
    )  # of 3: the one without escape is the latest
    assert first.median_escape_updates is None


def test_in_a_sweep_with_one_seed_each_finished_run_is_an_arm(summaries: list[RunSummary]):
    found = compare_runs(summaries)
    assert [arm.name for arm in found.arms] == ["first training", "mel", "power", "amplitude"]
    assert {len(arm.runs) for arm in found.arms} == {1}
    assert found.inference is not None
    assert not found.inference.can_decide
    assert (found.run_count, found.finished_count) == (7, 4)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (0, ["Ended on the blank plateau", "3.02", "at the ceiling"]),
        (1, ["Escaped at update", "Lowest dev CER", "of 20"]),
        (4, ["Escaped", "so far"]),
        (6, ["waits to start"]),
    ],
)
def test_the_description_gives_the_state_of_a_run(
    summaries: list[RunSummary], place: int, words: list[str]
):
    text = describe_run(summaries[place])
    for word in words:
        assert word in text


def test_the_description_names_overfitting_waiting_and_infeasible_utterances(
    summaries: list[RunSummary],
):
    one = summaries[1]
    last = one.rows_for("dev")[-1]["epoch"]
    rows = []
    for row in one.rows:
        changes = {"loader_wait": 0.3, "infeasible": 7}
        if row["epoch"] == last and row["split"] == "dev":
            changes["loss_per_character"] = 2.5
        rows.append({**row, **changes})
    text = describe_run(replace(one, rows=rows))  # type: ignore[arg-type]
    assert "It overfits" in text
    assert "7 training utterances" in text
    assert "30.0" in text
    assert "waiting for data" in text


def test_the_description_names_a_mean_of_epochs_and_an_early_stop(summaries: list[RunSummary]):
    one, mean = summaries[1], "mean of epochs 19 20"
    *rows, last, test = ({**row} for row in one.rows)
    rows += [
        last,
        {**last, "weights": mean, "cer": 0.0123},
        {**test, "epoch": last["epoch"], "weights": mean},
    ]
    text = describe_run(replace(one, rows=rows, message="stopped early after epoch 20"))  # type: ignore[arg-type]
    text = " ".join(text.split())  # of spaces that do not break
    assert "Dev CER 1.2 % with the mean of epochs 19 20. Stopped early after epoch 20." in text
    assert "best one" not in text


def test_a_missing_run_is_described():
    missing = SweepRun("later", {}, RunFolder(Path("nowhere")))
    assert "has not started" in describe_run(read_run(missing, NOW))


@pytest.mark.parametrize(("last_loss", "overfits"), [(1.09, False), (1.11, True)])
def test_a_run_overfits_if_the_dev_loss_rises_by_a_tenth(
    summaries: list[RunSummary], last_loss: float, overfits: bool
):
    run = summaries[1]
    last = run.rows_for("dev")[-1]["epoch"]
    rows = []
    for row in run.rows:
        is_last_dev = row["epoch"] == last and row["split"] == "dev"
        escaped = row["loss_per_character"] < 2
        rows.append({**row, "loss_per_character": 1.0} if escaped else row)
        rows[-1] = {**rows[-1], "loss_per_character": last_loss} if is_last_dev else rows[-1]
    assert ("It overfits" in describe_run(replace(run, rows=rows))) == overfits  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "reported"), [(0.09, False), (0.11, True)])
def test_waiting_for_data_is_reported_above_a_tenth(
    summaries: list[RunSummary], share: float, reported: bool
):
    rows = [{**row, "loader_wait": share} for row in summaries[1].rows]
    description = describe_run(replace(summaries[1], rows=rows))  # type: ignore[arg-type]
    assert ("waiting for data" in description) == reported


def read_arms(folder: Path, scenarios: dict[str, list[RunScenario]]) -> list[RunSummary]:
    """Return finished runs; each arm has a setting of its own and one seed per scenario."""
    return [
        read_run(
            make_run(
                folder / f"{arm}-{seed}",
                f"{arm}, seed {seed}",
                {"input.stack": number + 1, "train.seed": seed},
                scenario,
            ),
            NOW,
        )
        for number, (arm, each) in enumerate(scenarios.items())
        for seed, scenario in enumerate(each)
    ]


def escaping(dev_cer: float, seed: int = 0) -> RunScenario:
    return RunScenario(escape_updates=60, epochs=9, utterances=12, final_dev_cer=dev_cer, seed=seed)


def test_the_best_arm_has_the_lowest_mean_dev_cer_and_not_the_best_run(tmp_path: Path):
    runs = read_arms(
        tmp_path,
        {
            "lucky": [escaping(0.02), escaping(0.40, 1)],
            "steady": [escaping(0.10, 2), escaping(0.10, 3)],
            "blank": [replace(NEVER_ESCAPES, epochs=2, utterances=12)] * 2,
        },
    )
    found = compare_runs(runs)
    assert found.best_arm is not None
    assert found.best_arm.name == "steady"
    assert found.best in found.best_arm.runs
    cers = [run.selected_dev_row["cer"] for run in runs[:4] if run.selected_dev_row]
    assert min(cers) in cers[:2]  # the best single run is of the other arm
    assert found.arms[1].mean_dev_cer == pytest.approx(np.mean(cers[2:]))
    assert [arm.dev_selection_key[0] for arm in found.arms] == [False, False, True]


def test_a_run_on_the_plateau_counts_as_all_wrong_in_its_arm(tmp_path: Path):
    blank = replace(NEVER_ESCAPES, epochs=2, utterances=12, learning_rate=2e-3)
    runs = read_arms(
        tmp_path, {"half": [escaping(0.02), blank], "high": [escaping(0.5, 1)], "blank": [blank]}
    )
    half, high, never = (arm.dev_selection_key[:2] for arm in compare_runs(runs).arms)
    assert high < half < never
    assert half[1] == pytest.approx((runs[0].selected_dev_row["cer"] + 1) / 2)  # type: ignore[index]


def test_differences_and_reductions_are_those_of_the_mean_rates_from_the_best_arm():
    arms = {"mel": (0.09, 0.10, 0.11), "power": (0.036, 0.040, 0.044), "zca": (0.035, 0.041, 0.045)}
    found = compare_runs([run for name, cers in arms.items() for run in make_arm(name, cers)])
    mel, power, zca = found.arms
    assert found.best_arm is power
    for difference in (found.difference(mel), found.word_difference(mel)):
        assert difference is not None
        assert difference.difference == pytest.approx(0.06)
        assert 0 < difference.low < 0.06 < difference.high
    share, low, high = found.reduction(mel)
    assert share == pytest.approx(0.6)
    assert 0 < low < share < high < 1
    assert found.not_told_apart == (zca,)
    for arm in found.arms:
        low, high = found.rate_interval(arm)
        assert low < arm.mean_test_cer < high
        assert found.word_rate_interval(arm) == pytest.approx((low, high))


def test_an_arm_with_a_run_that_was_stopped_early_is_named_and_not_compared():
    stopped = [*make_arm("mel", (0.09, 0.10)), make_scored_run("mel", 2, [], state="stopped early")]
    found = compare_runs([*stopped, *make_arm("power", (0.05, 0.06, 0.04))])
    assert [arm.name for arm in found.arms] == ["power"]
    assert [(arm.name, len(arm.runs)) for arm in found.stopped_early] == [("mel", 3)]
    assert (found.run_count, found.finished_count, found.ended_count) == (6, 5, 6)
    assert all(map(math.isnan, compare_runs([]).reduction(found.arms[0])))


def test_one_arm_is_compared_with_nothing(tmp_path: Path):
    found = compare_runs(read_arms(tmp_path, {"mel": [escaping(0.1), escaping(0.1, 1)]}))
    assert found.difference(found.arms[0]) is None
    assert found.common_utterances == 12
    low, high = found.rate_interval(found.arms[0])
    assert low < found.arms[0].mean_test_cer < high


def test_a_run_that_two_labels_name_counts_once(tmp_path: Path):
    (run,) = read_arms(tmp_path, {"mel": [escaping(0.1)]})
    twin = replace(run, run=replace(run.run, label="mel, seed 0"))
    assert [len(arm.runs) for arm in compare_runs([run, twin]).arms] == [1]


def test_runs_of_different_experiments_are_different_arms(tmp_path: Path):
    """Entries of a list may differ in their base only, which no swept setting shows."""
    first, other = (
        read_run(make_run(tmp_path / f"{n}", f"{n}", {"train.seed": n}, escaping(0.1)), NOW)
        for n in (0, 1)
    )
    assert [len(arm.runs) for arm in compare_runs([first, other]).arms] == [2]
    assert other.experiment is not None
    changed = other.experiment.model_copy(update={"alphabet": "english-29"})
    apart = compare_runs([first, replace(other, experiment=changed)]).arms
    assert [len(arm.runs) for arm in apart] == [1, 1]


def two_arms(folder: Path) -> list[RunSummary]:
    return read_arms(
        folder, {name: [escaping(0.1, seed) for seed in (s, s + 1)] for s, name in enumerate("ac")}
    )


def test_arms_are_compared_on_the_utterances_that_all_runs_decoded(tmp_path: Path):
    runs = two_arms(tmp_path)
    dev_and_five = [each for each in runs[3].hypotheses if each.utterance_id[-3:] < "005"]
    found = compare_runs([*runs[:3], replace(runs[3], hypotheses=dev_and_five)])
    assert found.common_utterances == 5
    assert found.inference is not None
    assert found.inference.speakers == 5
    shared = [
        [each for each in run.hypotheses_for("test") if each.utterance_id[-3:] < "005"]
        for run in runs
    ]
    rates = [sum(h.char_errors for h in one) / sum(h.chars for h in one) for one in shared]
    assert found.inference.rates == pytest.approx([np.mean(rates[:2]), np.mean(rates[2:])])


def test_without_a_common_test_set_there_is_no_inference(tmp_path: Path):
    *runs, last = two_arms(tmp_path)
    renamed = [each._replace(reference=each.reference + " X") for each in last.hypotheses]
    found = compare_runs([*runs, replace(last, hypotheses=renamed)])
    assert found.inference is None
    assert found.difference(found.arms[0]) is None
    assert found.not_told_apart == ()


def test_speakers_that_one_run_names_are_known_of_all(tmp_path: Path):
    runs = two_arms(tmp_path)
    nameless = [
        replace(run, hypotheses=[each._replace(speaker="") for each in run.hypotheses])
        for run in runs
    ]
    assert compare_runs([*nameless[:3], runs[3]]).speakers_known
    found = compare_runs(nameless)
    assert not found.speakers_known
    assert found.inference is not None
    assert not found.inference.can_decide


def test_a_run_that_failed_after_its_test_is_not_the_best(summaries: list[RunSummary]):
    failed = replace(summaries[1], state="failed")
    assert compare_runs([failed, summaries[2]]).best is summaries[2]


def test_only_a_finished_run_whose_last_epoch_is_best_may_need_more_epochs(
    summaries: list[RunSummary],
):
    """Epoch 12 of 20 is the best one of the run; without the later ones it is the last."""
    run = summaries[1]
    selected = run.selected_dev_row
    assert selected is not None
    shorter = [row for row in run.rows if row["epoch"] <= selected["epoch"]]
    assert "more epochs may help" not in describe_run(run)
    assert "more epochs may help" in describe_run(replace(run, rows=shorter))
    running = replace(run, rows=shorter, state="running")
    assert "more epochs may help" not in describe_run(running)


def test_a_report_calls_an_arm_as_the_sweep_file_does_in_its_expectation(tmp_path: Path):
    (tmp_path / "demo.yaml").write_text("reader: demo\n")
    (tmp_path / "base.yaml").write_text("corpus: demo.yaml\n")
    file, runs = tmp_path / "sweep.yaml", []
    entries = [("first", 8, 1), ("second", 8, 2), ("wide", 16, 1)]  # label, hidden, seed
    lines = [
        f"- {{label: {label}, model.hidden: {hidden}, train.seed: {seed}}}\n"
        for label, hidden, seed in entries
    ]
    text = f"base: base.yaml\nlist:\n{''.join(lines)}- {{label: as is}}\n"
    file.write_text(f"{text}expect: [model.hidden 16 < model.hidden 8, as is = model.hidden 8]\n")
    found = load_sweep(file)
    for one in found.experiments:
        run = SweepRun(one.label, one.settings, RunFolder(tmp_path / one.label))
        runs.append(RunSummary(run=run, experiment=one.experiment))
    names = [arm.name for arm in group_arms(runs)]
    assert names == ["model.hidden 8", "model.hidden 16", "as is"]
    assert {name for each in found.expect for name in (each.first, each.second)} == set(names)
    file.write_text(f"{text}expect: [wide < as is]\n")
    with pytest.raises(InputError, match=r"no arm is called 'wide'; .*model\.hidden 16"):
        load_sweep(file)
