"""Several sweeps as one: each run once, arms whichever sweep their seeds come from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.results.comparison.merge import merge_expectations, merge_sweeps
from pipeline.results.summary.run_summary import SweepRun
from pipeline.runs.folder import RunFolder
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run

SHORT = RunScenario(escape_updates=60, epochs=3, utterances=6)


@pytest.fixture
def make_swept_run(tmp_path: Path):
    def make(sweep: str, label: str, **settings: Any) -> SweepRun:
        """Make a run, with one folder per experiment, as in work/runs."""
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        name = "-".join(f"{key}{value}" for key, value in sorted(dotted.items()))
        folder = tmp_path / "runs" / name
        if folder.exists():
            return SweepRun(label, dotted, RunFolder(folder), sweep=sweep)
        return replace(make_run(folder, label, dotted, SHORT), sweep=sweep)

    return make


def test_a_run_of_both_sweeps_is_counted_once_and_has_both_names(make_swept_run):
    shared = (
        make_swept_run("a", "stack 2", input__stack=2),
        make_swept_run("b", "two", input__stack=2),
    )
    merged = merge_sweeps(
        [[shared[0], make_swept_run("a", "stack 3", input__stack=3)], [shared[1]]]
    )
    assert [(run.label, run.sweep) for run in merged] == [("stack 2", "a b"), ("stack 3", "a")]


def test_what_sweeps_expect_names_the_arms_of_their_common_report(make_swept_run):
    """Two arms that became one are not compared, and what both expect is said once."""
    first = [make_swept_run("a", f"stack {n}", input__stack=n) for n in (2, 3)]
    second = [make_swept_run("b", label, input__stack=n) for label, n in (("two", 2), ("4", 4))]
    third = [make_swept_run("c", "stack 2", input__stack=2, model__hidden=64)]
    expected = [
        [Expectation("stack 2", "<", "stack 3")],
        [Expectation("4", "=", "two"), Expectation("two", "<", "4")],
        [Expectation("stack 2", "<", "removed")],
    ]
    sweeps = [first, second, third, first]
    merged = merge_sweeps(sweeps)
    assert len(merged) == 4
    assert merge_expectations(sweeps, [*expected, expected[0]], merged) == [
        ("a: stack 2", "<", "stack 3"),
        ("4", "=", "a: stack 2"),
        ("a: stack 2", "<", "4"),
        ("c: stack 2", "<", "removed"),
    ]
    one = [Expectation("stack 2", "<", "stack 2")]
    assert merge_expectations([first[:1]], [one], merged) == []


def test_seeds_of_one_arm_from_two_sweeps_are_one_arm(make_swept_run, tmp_path: Path):
    first = [
        make_swept_run("a", f"stack 2, seed {n}", input__stack=2, train__seed=n) for n in range(2)
    ]
    second = [
        make_swept_run("b", f"zwei, seed {n}", train__seed=n, input__stack=2) for n in range(1, 4)
    ]
    merged = merge_sweeps([first, second])
    assert [run.label for run in merged] == [f"stack 2, seed {n}" for n in range(4)]
    write_report(merged, tmp_path / "report")
    (arm,) = pd.read_csv(tmp_path / "report/arms.csv").to_dict("records")
    assert (arm["label"], arm["seeds"]) == ("stack 2", 4)
    summary = pd.read_csv(tmp_path / "report/summary.csv")
    assert summary["sweep"].tolist() == ["a", "a b", "b", "b"]
    assert summary["run_id"].is_unique


def test_arms_of_one_name_in_two_sweeps_get_the_names_of_their_sweeps(
    make_swept_run, tmp_path: Path
):
    merged = merge_sweeps(
        [
            [make_swept_run("a", "mel", features__spectrum="mel")],
            [make_swept_run("b", "mel", features__spectrum="mel", model__hidden=64)],
        ]
    )
    assert [run.label for run in merged] == ["a: mel", "b: mel"]


def test_a_setting_in_which_the_bases_differ_is_a_column(make_swept_run, tmp_path: Path):
    one = make_swept_run("a", "mel", features__spectrum="mel")
    other = make_swept_run("b", "power", features__spectrum="power", model__hidden=64)
    other = replace(other, settings={"features.spectrum": "power"})  # 64 is from its base
    write_report(merge_sweeps([[one], [other]]), tmp_path / "report")
    summary = pd.read_csv(tmp_path / "report/summary.csv")
    assert summary["model.hidden"].tolist() == [one.folder.experiment().model.hidden, 64]
    assert summary["features.spectrum"].tolist() == ["mel", "power"]


def test_a_run_that_does_not_exist_yet_is_kept(tmp_path: Path):
    run = SweepRun("later", {"train.seed": 1}, RunFolder(tmp_path / "none"), sweep="a")
    assert [each.label for each in merge_sweeps([[run]])] == ["later, seed 1"]
