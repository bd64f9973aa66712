"""What became of runs that are not finished: counted by state, causes with their remedies."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.results.comparison.progress import describe_progress
from pipeline.results.summary.run_summary import RunSummary, SweepRun
from pipeline.runs.folder import RunFolder

COMMAND = "make sweep SWEEP=a.yaml"
REMEDIES = {"divergence": "lower train.learning_rate", "killed": "make sweep again"}


def make_runs(**states: int) -> list[RunSummary]:
    return [
        RunSummary(
            run=SweepRun(f"{state} {n}", {}, RunFolder(Path(f"{state}{n}"))),
            state=state,  # type: ignore[arg-type]
            cause="divergence" if state == "failed" else "",
        )
        for state, count in states.items()
        for n in range(count)
    ]


def test_a_finished_sweep_needs_no_sentence():
    assert describe_progress(make_runs(finished=9), COMMAND, REMEDIES) == []


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"running": 1, "waiting": 2}, ["Not finished: 1 running, 2 waiting."]),
        (
            {"finished": 4, "running": 1, "missing": 3},
            ["Not finished: 1 running, 3 not started.", f"Next: {COMMAND} runs what is missing."],
        ),
        (
            {"failed": 6},
            [
                "6 failed by divergence: lower train.learning_rate.",
                f"Next, after that: {COMMAND} runs what is missing.",
            ],
        ),
    ],
)
def test_runs_are_counted_and_the_next_command_is_named(
    states: dict[str, int], expected: list[str]
):
    assert describe_progress(make_runs(**states), COMMAND, REMEDIES) == expected


def test_an_unknown_cause_has_no_remedy():
    (run,) = make_runs(failed=1)
    object.__setattr__(run, "cause", "")
    assert describe_progress([run], COMMAND, REMEDIES)[0] == "1 failed by an unknown cause."


def test_where_the_command_itself_helps_nothing_is_to_be_done_before_it():
    killed = [replace(run, cause="killed") for run in make_runs(failed=2)]
    assert describe_progress(killed, COMMAND, REMEDIES) == [
        "2 failed by killed: make sweep again.",
        f"Next: {COMMAND} runs what is missing.",
    ]
