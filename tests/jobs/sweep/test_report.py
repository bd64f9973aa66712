"""Reports of several sweeps: one question, with the sweeps named."""

from dataclasses import replace
from pathlib import Path

from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import PlannedRun, SweepRecord, load_record
from jobs.sweep.report import join_questions, swept_run
from pipeline.files import write_json
from pipeline.results.page.views import parse_header
from pipeline.results.summary.run_summary import changed_keys


def make_record(name: str, question: str) -> SweepRecord:
    return SweepRecord(name, question, f"{name}.yaml", "", (), ())


def test_the_questions_of_several_sweeps_are_one_and_apart_from_what_is_expected():
    first = make_record(
        "norm", "Question: which norm,\nat which depth?\nCost: 24 runs.\nExpect: BN."
    )
    second = make_record("recipe", "Which change of the recipe?")
    joint = parse_header(join_questions([first, second]))
    assert joint["question"] == (
        "Which norm, at which depth? (norm) Which change of the recipe? (recipe)"
    )
    assert joint["expect"] == "BN. (norm)"
    assert joint["cost"] == "24 runs. (norm)"
    assert join_questions([first]) == first.question
    assert join_questions([make_record("a", ""), make_record("b", "")]) == ""


def test_the_settings_that_a_sweep_fixes_are_columns_so_that_tables_can_be_joined(tmp_path: Path):
    folder, run = SweepFolder(tmp_path, "norm"), PlannedRun("a", {"model.layers": 3}, "0", "mel-0")
    changed = {"fixed": {"train.epochs": 30, "train.batch": 8}, "changes": {"train.batch": 16}}
    record = replace(make_record("norm", ""), runs=(run,), **changed)
    write_json(folder.record_file, record.to_json())
    read = load_record(folder)
    assert read == record
    swept = swept_run(read, read.runs[0], folder)
    assert swept.changes == {"train.epochs": 30, "train.batch": 16}
    assert changed_keys([swept]) == ["model.layers", "train.epochs", "train.batch"]
