"""Provenance: what made each run, and where runs that are compared differ in it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.results.summary.provenance import code_versions, difference_notes, environment_facts
from pipeline.results.summary.run_summary import RunSummary, SweepRun, read_run
from pipeline.results.summary.table import summary_table
from pipeline.runs.folder import RunFolder
from tests.results.example_report import write_report
from tests.results.examples import NOW, RunScenario, make_run

SHORT = RunScenario(escape_updates=60, epochs=3, utterances=6)
ENVIRONMENT = {
    "code": "c0de1",
    "snapshot": "5naps",
    "commit": "1a2b3c4d5e6f7a8b",
    "dirty": False,
    "torch": "2.11",
    "device": "cpu",
    "processor": "x86_64, AVX2",
}


def run_with(folder: Path, label: str, *attempts: dict[str, Any]) -> SweepRun:
    run = make_run(
        folder / label, label, {"input.stack": "abcdmnopw".index(label[0]) % 8 + 1}, SHORT
    )
    for file in run.folder.path.glob("environment*"):
        file.unlink()
    for attempt in attempts:
        run.folder.write_environment({**ENVIRONMENT, **attempt})
    return run


def summaries(*runs: SweepRun) -> list[RunSummary]:
    return [read_run(run, NOW) for run in runs]


def test_runs_of_the_same_code_and_processor_need_no_note(tmp_path: Path):
    runs = [run_with(tmp_path, label, {"host": label, "threads": len(label)}) for label in "ab"]
    assert difference_notes(summaries(*runs)) == []


def test_arms_made_by_different_code_are_pointed_out(tmp_path: Path):
    runs = [
        run_with(tmp_path, "mel", {}),
        run_with(tmp_path, "power", {"code": "c0de2", "dirty": True}),
        run_with(tmp_path, "amplitude", {"code": "c0de2", "dirty": True}),
    ]
    (note,) = difference_notes(summaries(*runs))
    assert note == (
        "The compared runs were made by 2 versions of the code, so a difference of theirs may come "
        "from that: c0de1 (commit 1a2b3c4d5e): mel; c0de2 (commit 1a2b3c4d5e, with uncommitted "
        "changes): power, amplitude."
    )
    page = write_report(runs, tmp_path / "report")
    assert note in page.notes
    text = page.page.read_text("utf-8")
    assert note in text
    assert (
        '<a href="#provenance">see which</a>' in text.split('<section aria-labelledby="runs">')[0]
    )
    versions = code_versions(summaries(*runs))
    assert [(one.code, one.dirty, one.runs) for one in versions] == [
        ("c0de1", False, 1),
        ("c0de2", True, 2),
    ]


def test_arms_made_on_different_kinds_of_processor_are_pointed_out(tmp_path: Path):
    """The same run gives 8.7 and 8.5 % test CER on AVX2 and on AVX-512."""
    runs = [run_with(tmp_path, "a", {}), run_with(tmp_path, "b", {"processor": "x86_64, AVX512"})]
    (note,) = difference_notes(summaries(*runs))
    assert "2 kinds of processor" in note
    assert "x86_64, AVX2: a; x86_64, AVX512: b" in note


def test_a_run_that_was_continued_on_another_kind_of_processor_is_pointed_out(tmp_path: Path):
    run = run_with(tmp_path, "a", {"processor": "x86_64, AVX512"}, {})
    (note,) = difference_notes(summaries(run))
    assert note == (
        "Runs that were continued by other kinds of processor: a (x86_64, AVX512, then "
        "x86_64, AVX2)."
    )


def test_what_an_earlier_version_did_not_record_is_unknown_and_not_none(tmp_path: Path):
    old = run_with(tmp_path, "old", {"code": None, "commit": None, "cuda": None})
    new = run_with(tmp_path, "new", {})
    (note,) = difference_notes(summaries(old, new))
    assert "unknown: old" in note
    assert environment_facts(summaries(old))["cuda"] == ["unknown"]
    line = summary_table(summaries(old)).iloc[0]
    assert pd.isna(line["code"])


def test_the_table_has_the_code_versions_and_attempts_of_each_run(tmp_path: Path):
    run = run_with(tmp_path, "a", {}, {}, {"dirty": True})
    line = summary_table(summaries(run)).iloc[0]
    assert (line["attempts"], line["commit"], line["dirty"]) == (3, ENVIRONMENT["commit"], True)
    assert (line["code"], line["processor"]) == ("c0de1", "x86_64, AVX2")
    assert line["snapshot"] == "5naps"
    assert environment_facts(summaries(run))["snapshot"] == ["5naps"]


@pytest.mark.parametrize("end", ["", '{"torch": "2.'])
def test_the_environment_of_each_attempt_is_kept_also_behind_a_line_that_was_cut(
    tmp_path: Path, end: str
):
    run = RunFolder(tmp_path)
    run.write_environment({"torch": "1"})
    with (tmp_path / "environments.jsonl").open("a") as file:
        file.write(end)
    run.write_environment({"torch": "2"})
    assert [each["torch"] for each in summaries(SweepRun("a", {}, run))[0].environments] == [
        "1",
        "2",
    ]
    assert run.environment() == {"torch": "2"}
