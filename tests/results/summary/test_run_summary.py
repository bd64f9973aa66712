"""Tests of reading a run folder in any state, and of the message about a damaged file."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.results.summary.run_summary import (
    RunSummary,
    SweepRun,
    changed_keys,
    read_deferred_hypotheses,
    read_run,
    read_runs,
)
from pipeline.runs.records import HEARTBEAT_TIMEOUT_S
from pipeline.runs.rows import column_of, rows_of_split
from tests.results.examples import NEVER_ESCAPES, NOW, RunScenario, make_run

SHORT = RunScenario(epochs=4, utterances=5)


@pytest.mark.parametrize("state", ["missing", "waiting", "running", "stopped", "finished"])
def test_the_state_comes_from_the_files(tmp_path: Path, state: str):
    assert (
        read_run(make_run(tmp_path / "r", "mel", scenario=SHORT, state=state), NOW).state == state
    )


def test_a_failed_run_says_why_and_keeps_its_rows(tmp_path: Path):
    one = read_run(make_run(tmp_path / "r", "mel", scenario=SHORT, state="failed"), NOW)
    assert (one.state, one.cause) == ("failed", "divergence")
    assert "lower train.learning_rate" in one.message
    assert len(one.rows_for("dev")) == 2


def test_a_failure_of_an_earlier_attempt_does_not_hide_that_the_run_finished(tmp_path: Path):
    make_run(tmp_path / "r", "mel", scenario=SHORT, state="failed")
    assert read_run(make_run(tmp_path / "r", "mel", scenario=SHORT), NOW).state == "finished"


def test_a_running_run_without_a_recent_heartbeat_is_stopped(tmp_path: Path):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT, state="running")
    assert read_run(run, NOW + HEARTBEAT_TIMEOUT_S - 10).state == "running"
    late = read_run(run, NOW + HEARTBEAT_TIMEOUT_S)
    assert (late.state, late.cause) == ("stopped", "killed")
    assert "node-7" in late.message


@pytest.mark.parametrize("name", ["rows.jsonl", "hypotheses.csv"])
def test_a_file_cut_in_half_is_named_and_the_others_are_kept(tmp_path: Path, name: str):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    whole = read_run(run, NOW)
    file = tmp_path / "r" / name
    # Through the middle of a line: an end between two lines is a shorter whole file.
    file.write_text(file.read_text(encoding="utf-8").rstrip()[:-30], encoding="utf-8")
    one = read_run(run, NOW)
    assert (one.state, one.cause) == ("failed", "damaged file")
    assert name in one.message
    assert "\n" not in one.message
    kept = [
        len(one.rows) == len(whole.rows),
        list(one.hypotheses) == list(whole.hypotheses),
        bool(one.environment),
    ]
    assert sum(kept) >= 2


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda text: text.replace(",dev,", f',dev,"{"x" * 200_000}', 1),
            "field larger than field",
        ),
        (lambda text: text.replace(",0,", f",{10**20},"), "Python int too large"),
    ],
)
def test_a_text_or_a_count_that_is_too_large_damages_one_run(
    tmp_path: Path, damage: Callable[[str], str], reason: str
):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    file = run.folder.hypotheses_file
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    (one,) = read_runs([run], NOW)
    assert (one.state, one.cause) == ("failed", "damaged file")
    assert f"hypotheses.csv cannot be read: {reason}" in one.message


def test_the_epoch_is_chosen_on_the_dev_split(tmp_path: Path):
    scenario = replace(SHORT, escape_updates=60, epochs=8)
    one = read_run(make_run(tmp_path / "r", "mel", scenario=scenario, state="running"), NOW)
    rates = [row["cer"] for row in one.rows_for("dev")]
    assert one.selected_dev_row is not None
    assert one.selected_dev_row["cer"] == min(rates)
    train = min(one.rows_for("train"), key=lambda row: row["cer"])
    assert train["cer"] < one.selected_dev_row["cer"], (
        "the train split has lower rates but does not select"
    )


def test_while_all_hypotheses_are_empty_the_epoch_with_the_lowest_loss_is_selected(tmp_path: Path):
    scenario = replace(NEVER_ESCAPES, epochs=6, utterances=5)
    one = read_run(make_run(tmp_path / "r", "student", scenario=scenario, state="running"), NOW)
    assert {row["cer"] for row in one.rows_for("dev")} == {1.0}
    assert one.selected_dev_row is not None
    assert one.selected_dev_row["loss_per_character"] == min(
        r["loss_per_character"] for r in one.rows_for("dev")
    )


def test_a_rate_that_is_no_number_is_never_chosen(tmp_path: Path):
    one = read_run(make_run(tmp_path / "r", "mel", scenario=SHORT, state="running"), NOW)
    rows = [{**row, "cer": math.nan} if row["epoch"] == 1 else row for row in one.rows]
    chosen = replace(one, rows=rows).selected_dev_row  # type: ignore[arg-type]
    assert chosen is not None
    assert chosen["epoch"] == 2


def test_a_finished_run_shows_the_epoch_that_test_was_decoded_with(tmp_path: Path):
    one = read_run(
        make_run(tmp_path / "r", "mel", scenario=RunScenario(escape_updates=200, utterances=5)), NOW
    )
    assert one.test_row is not None
    assert one.selected_dev_row is not None
    assert one.selected_dev_row["epoch"] == one.test_row["epoch"] > 1


def test_the_epoch_of_the_test_row_is_selected_even_if_another_is_better_on_dev(tmp_path: Path):
    one = read_run(make_run(tmp_path / "r", "mel", scenario=SHORT), NOW)
    for epoch in range(1, SHORT.epochs + 1):
        rows = [{**row, "epoch": epoch} if row["split"] == "test" else row for row in one.rows]
        chosen = replace(one, rows=rows).selected_dev_row  # type: ignore[arg-type]
        assert chosen is not None
        assert chosen["epoch"] == epoch


def test_hypotheses_are_given_by_split_and_the_corpus_by_its_name(tmp_path: Path):
    one = read_run(make_run(tmp_path / "r", "mel", scenario=SHORT), NOW)
    found = {split: one.hypotheses_for(split) for split in ("dev", "test")}
    assert sum(map(len, found.values())) == len(one.hypotheses) > 0
    for split, hypotheses in found.items():
        assert {each.split for each in hypotheses} == {split}
    assert one.corpus == "an4"
    assert replace(one, experiment=None).corpus is None


def test_a_setting_that_a_run_leaves_to_the_base_comes_from_its_experiment(tmp_path: Path):
    one = read_run(make_run(tmp_path / "r", "mel", {"input.stack": 3}, SHORT), NOW)
    assert one.setting("input.stack") == 3
    assert one.setting("features.spectrum") == "mel"
    assert one.setting("no.such.key") is None


def test_changed_keys_come_in_the_order_of_the_sweep(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", "a", {"b.c": 1, "a.b": 2}, state="missing"),
        make_run(tmp_path / "b", "b", {"a.b": 2, "z": 3, "corpus": "x"}, state="missing"),
    ]
    assert changed_keys(runs) == ["b.c", "a.b", "z"]  # each table has a column `corpus`
    assert isinstance(runs[0], SweepRun)


def test_the_rows_of_a_run_are_those_of_its_file_split_by_split(tmp_path: Path):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    written, whole = run.folder.rows(), read_run(run, NOW)
    known = [{key: str(value) for key, value in row.items()} for row in written]
    assert [{key: str(value) for key, value in row.items()} for row in whole.rows] == known
    dev = [row["updates"] for row in written if row["split"] == "dev"]
    assert column_of(rows_of_split(whole.rows, "dev"), "updates") == dev
    assert column_of(rows_of_split(written, "dev"), "updates") == dev
    assert rows_of_split(whole.rows_for("dev"), "dev") is whole.rows_for("dev")
    assert not len(rows_of_split(whole.rows_for("dev"), "train"))


def test_run_folders_are_read_in_the_order_of_the_sweep(tmp_path: Path):
    runs = [make_run(tmp_path / f"r{each}", str(each), scenario=SHORT) for each in range(5)]
    assert [each.run for each in read_runs(runs, NOW)] == runs


def read_deferred(run: SweepRun, change: Callable[[Path], object]) -> tuple[RunSummary, RunSummary]:
    """Return the run when its hypotheses are not read yet, and when they are, after `change`."""
    (deferred,) = read_runs([run], NOW, defer_hypotheses=True)
    change(run.folder.hypotheses_file)
    (whole,) = read_deferred_hypotheses([deferred])
    return deferred, whole


def test_a_run_with_deferred_hypotheses_is_the_same_run(tmp_path: Path):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    deferred, whole = read_deferred(run, lambda _: None)
    assert whole is deferred
    assert list(whole.hypotheses) == run.folder.hypotheses()
    assert replace(whole, rows=(), hypotheses=()) == replace(
        read_run(run, NOW), rows=(), hypotheses=()
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.unlink(), "hypotheses.csv is missing"),
        (lambda file: file.write_bytes(b"\xff"), "hypotheses.csv cannot be read: "),
        (
            lambda file: file.write_bytes(file.read_bytes().splitlines(True)[0]),
            "rows.jsonl or hypotheses.csv has changed since the run wrote it",
        ),
    ],
    ids=["deleted", "damaged", "shorter"],
)
def test_a_file_that_changes_before_it_is_read_damages_the_run(
    tmp_path: Path, change: Callable[[Path], object], reason: str
):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    deferred, whole = read_deferred(run, change)
    assert deferred.state == "finished"
    assert (whole.state, whole.cause) == ("failed", "damaged file")
    assert reason in whole.message
    assert len(whole.hypotheses) == 0
    assert whole.rows == deferred.rows


def test_the_first_reason_stays_where_a_deferred_file_is_damaged_too(tmp_path: Path):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    run.folder.experiment_file.write_text("[", encoding="utf-8")
    deferred, whole = read_deferred(run, lambda file: file.write_bytes(b"\xff"))
    assert "experiment.yaml" in whole.message
    assert whole.message == deferred.message
    assert len(whole.hypotheses) == 0


def test_the_hypotheses_of_a_run_with_changed_rows_are_kept(tmp_path: Path):
    run = make_run(tmp_path / "r", "mel", scenario=SHORT)
    run.folder.restore_rows(run.folder.rows()[:-1])
    deferred, whole = read_deferred(run, lambda _: None)
    assert "has changed" in whole.message
    assert whole is deferred
    assert list(whole.hypotheses) == run.folder.hypotheses()
