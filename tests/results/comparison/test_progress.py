"""What became of runs that are not finished: counted by state, causes with their remedies."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.results.comparison.progress import describe_progress, find_remedy
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
                (
                    "6 runs failed, divergence: failed 0, failed 1, failed 2 and 3 more. "
                    "Remedy: lower train.learning_rate."
                ),
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
    assert (
        describe_progress([run], COMMAND, REMEDIES)[0] == "1 run failed, unknown cause: failed 0."
    )


def test_where_the_command_itself_helps_nothing_is_to_be_done_before_it():
    killed = [replace(run, cause="killed") for run in make_runs(failed=2)]
    assert describe_progress(killed, COMMAND, REMEDIES) == [
        "2 runs failed, killed: failed 0, failed 1. Remedy: make sweep again.",
        f"Next: {COMMAND} runs what is missing.",
    ]


def test_a_failure_is_named_with_its_message_and_the_run_of_its_log():
    bad = RunSummary(
        run=SweepRun("hidden 64, seed 1", {}, RunFolder(Path("work/runs/ab12"))),
        state="failed",
        cause="code error",
        message="ValueError: 3.",
    )
    cut = replace(bad, message=f"ValueError: {300 * '3'}")
    remedies = {"code error": "make logs RUN=… shows the traceback"}
    command = f"{COMMAND} CLUSTER=c.yaml WORK='a b'"
    assert describe_progress([bad], command, remedies)[0] == (
        '1 run failed, code error: "hidden 64, seed 1". Message: ValueError: 3. '
        "Remedy: make logs RUN=ab12 CLUSTER=c.yaml WORK='a b' shows the traceback."
    )
    sentence = describe_progress([cut], command, remedies)[0]
    assert f"Message: ValueError: {188 * '3'}…. Remedy: " in sentence
    assert find_remedy(replace(bad, message="lower it"), {"code error": "lower it"}) == ""


def test_a_report_of_several_sweeps_names_the_command_of_each():
    stopped = make_runs(stopped=1)
    *_, sentence = describe_progress(stopped, COMMAND, REMEDIES, ["make sweep SWEEP=b.yaml"])
    assert sentence == (
        "Next: make sweep SWEEP=a.yaml and make sweep SWEEP=b.yaml run what is missing."
    )
