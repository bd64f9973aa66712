"""Tests of the tables: all rows, and one line per run, in any state."""

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.results.summary import efficiency, provenance, table
from pipeline.results.summary.run_summary import SweepRun, read_run
from pipeline.results.tables.export import write_table
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import ROW_COLUMNS
from tests.results.examples import NOW, RunScenario, make_run

# DESIGN, section 5.
ROW = """run_id epoch split updates loss_per_utterance loss_per_character reference_loss cer
    cer_no_spaces wer ser char_errors chars word_errors words utterances infeasible blank_argmax
    blank_posterior empty_hypotheses input_dependence clamp_saturation grad_norm learning_rate
    frames seconds frames_per_second loader_wait peak_memory_bytes"""
MORE = ROW_COLUMNS[len(ROW.split()) :]  # columns that the design does not list
SWEPT = ["features.scale", "features.spectrum", "model.bias", "train.learning_rate", "input.stack"]
RATES = ["dev_cer", "dev_wer", "test_cer", "test_cer_no_spaces", "test_wer", "test_ser"]


def summarise(runs: list[SweepRun]) -> pd.DataFrame:
    return table.summary_table([read_run(run, NOW) for run in runs])


def collect_rows(runs: list[SweepRun]) -> pd.DataFrame:
    return table.rows_table([read_run(run, NOW) for run in runs]).to_pandas()


@pytest.fixture(scope="module")
def summary(sweep_runs: list[SweepRun]) -> pd.DataFrame:
    return summarise(sweep_runs)


def test_results_have_every_row_and_its_swept_settings(sweep_runs: list[SweepRun]):
    results = collect_rows(sweep_runs)
    row = ROW.replace("learning_rate", "current_learning_rate").split()
    assert list(results.columns) == ["sweep", "corpus", "units", "label", *SWEPT, *row, *MORE]
    assert len(results) == sum(len(run.folder.rows()) for run in sweep_runs)
    assert list(results["run_id"].unique()) == ["a1", "b2", "c3", "d4", "e5", "f6"]
    first = results[results["run_id"] == "a1"]
    assert set(first["features.scale"]) == {"none"}
    assert set(first["split"]) == {"train", "dev", "test"}


def test_the_summary_has_the_columns_of_the_design(summary: pd.DataFrame):
    rates = [rate + end for rate in RATES for end in ("", "_low", "_high")]
    assert list(summary.columns) == [
        *("sweep", "corpus", "units", "run_id", "label", "state", "cause", *SWEPT, "epoch", *rates),
        *("escape_updates", "updates", "seconds", "frames_per_second", "loader_wait", "host"),
        *efficiency.EFFICIENCY_COLUMNS,
        *provenance.PROVENANCE_COLUMNS,
    ]


def test_the_summary_has_one_line_per_run_in_the_order_of_the_sweep(
    summary: pd.DataFrame, sweep_runs: list[SweepRun]
):
    assert list(summary["label"]) == [run.label for run in sweep_runs]
    assert list(summary["state"]) == ["finished"] * 4 + ["running", "failed", "waiting"]
    assert summary["cause"][5] == "divergence"


@pytest.mark.parametrize("rate", RATES)
def test_an_interval_contains_its_rate(summary: pd.DataFrame, rate: str):
    finished = summary[summary["state"] == "finished"]
    assert (finished[f"{rate}_low"] <= finished[rate]).all()
    assert (finished[rate] <= finished[f"{rate}_high"]).all()
    assert finished[rate].between(0, 1).all(), "fractions, not percent"


def test_rates_of_the_summary_are_errors_over_lengths_of_the_hypotheses(
    summary: pd.DataFrame, sweep_runs: list[SweepRun]
):
    file = pd.read_csv(sweep_runs[1].folder.hypotheses_file, keep_default_na=False)
    test = file[file["split"] == "test"]
    line = summary.iloc[1]
    assert line["test_cer"] == pytest.approx(test["char_errors"].sum() / test["chars"].sum())
    assert line["test_wer"] == pytest.approx(test["word_errors"].sum() / test["words"].sum())
    assert line["test_ser"] == pytest.approx((test["word_errors"] > 0).mean())
    dev = file[file["split"] == "dev"]
    assert line["dev_cer"] == pytest.approx(dev["char_errors"].sum() / dev["chars"].sum())


def test_a_run_under_way_has_its_best_dev_rate_until_now_and_no_test_rate(summary: pd.DataFrame):
    line = summary.iloc[4]
    assert 0 < line["dev_cer"] < 1
    assert math.isnan(line["dev_cer_low"])
    assert math.isnan(line["test_cer"])
    assert line["epoch"] == 10
    assert line["updates"] == 900


def test_a_run_that_waits_has_its_settings_and_nothing_else(summary: pd.DataFrame):
    line = summary.iloc[6]
    assert line["input.stack"] == 1
    assert line[["epoch", "updates", "seconds", "dev_cer", "escape_updates"]].isna().all()


def test_only_the_run_that_stays_blank_has_no_escape(summary: pd.DataFrame):
    finished = summary[summary["state"] == "finished"]
    assert list(finished["escape_updates"].isna()) == [True, False, False, False]
    assert finished["escape_updates"][1] < finished["escape_updates"][3]


def test_speed_is_added_up_and_divided_once(sweep_runs: list[SweepRun], summary: pd.DataFrame):
    rows = [row for row in sweep_runs[1].folder.rows() if row["split"] == "train"]
    frames, seconds = sum(row["frames"] for row in rows), sum(row["seconds"] for row in rows)
    assert summary["frames_per_second"][1] == pytest.approx(frames / seconds)
    assert summary["loader_wait"][1] == pytest.approx(0.013)


def test_a_sweep_without_runs_has_tables_without_lines():
    assert collect_rows([]).empty
    assert summarise([]).empty


def test_a_null_is_a_setting_and_not_a_gap(tmp_path: Path):
    run = make_run(tmp_path / "r", "no clamp", {"model.clamp": None}, RunScenario(epochs=2))
    assert summarise([run])["model.clamp"][0] == "none"


def test_what_is_not_known_is_a_gap_and_not_a_null(tmp_path: Path):
    one = make_run(tmp_path / "a", "one", {"model.clamp": 20.0}, RunScenario(epochs=2))
    later = SweepRun("later", {}, RunFolder(tmp_path / "nowhere"))
    line = summarise([one, later]).iloc[1]
    assert pd.isna(line["model.clamp"])
    assert pd.isna(line["corpus"])


def test_a_changed_setting_is_a_column_and_the_corpus_is_its_name(tmp_path: Path):
    scenario = RunScenario(epochs=2)
    made = make_run(tmp_path / "r", "a", {"model.clamp": 7.0}, scenario)
    changes = {"features.speeds": [0.9], "train.epochs": 3, "model.clamp": 7.0}
    swept = {"corpus": "c/an4.yaml", **made.settings}
    run = SweepRun("a", swept, made.folder, sweep="mine", changes=changes)
    for frame in (summarise([run]), collect_rows([run])):
        line = frame.iloc[0]
        assert (line["sweep"], line["corpus"], line["model.clamp"]) == ("mine", "an4", 7.0)
        assert line["features.speeds"] == "[]"  # as experiment.yaml has it, and not as Python
        assert frame.columns.is_unique


def test_the_learning_rate_of_an_epoch_is_not_called_as_the_setting_is(tmp_path: Path):
    run = make_run(tmp_path / "r", "a", {"train.learning_rate": 2e-3}, RunScenario(epochs=2))
    names = [name.rpartition(".")[2] for name in collect_rows([run]).columns]
    assert names.count("learning_rate") == 1
    assert len(names) == len(set(names))


def test_runs_that_do_not_exist_yet_are_missing(tmp_path: Path):
    run = SweepRun("later", {"train.seed": 4}, RunFolder(tmp_path / "nowhere"))
    line = summarise([run]).iloc[0]
    assert (line["state"], line["train.seed"]) == ("missing", 4)


def test_a_login_node_gets_tables_without_torch_and_without_matplotlib():
    script = "import sys, pipeline.results.summary.table; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert b"'pandas'" in loaded
    assert b"'torch'" not in loaded
    assert b"'matplotlib'" not in loaded


def test_settings_of_several_kinds_are_text_and_a_section_is_json(tmp_path: Path):
    mean = {"train.average": {"last": 3}, "train.clip": None}
    averaged = make_run(tmp_path / "a", "a", mean, RunScenario(epochs=2))
    other = {"train.average": None, "train.clip": 1.0}
    plain = make_run(tmp_path / "b", "b", other, RunScenario(epochs=2))
    # The first run does not sweep them, so that they are read from its experiment.
    rows = collect_rows([SweepRun("a", {}, averaged.folder), plain]).drop_duplicates("label")
    assert list(rows["train.average"]) == ['{"last": 3, "best": null}', "none"]
    assert list(rows["train.clip"]) == ["none", "1.0"]


def test_the_file_of_rows_is_whole_where_the_first_run_has_none(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", "a", state="waiting"),
        make_run(tmp_path / "b", "b", None, RunScenario(epochs=2)),
    ]
    rows = table.rows_table([read_run(run, NOW) for run in runs])
    write_table(rows, tmp_path / "rows.csv")
    read = pd.read_csv(tmp_path / "rows.csv")
    assert list(read["label"]) == ["b"] * len(runs[1].folder.rows())
    assert list(read["run_id"]) == ["b"] * len(read)
