"""The state of a run as its heartbeat and its failure report it."""

from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.files import write_json
from pipeline.runs.folder import RunFolder
from pipeline.runs.records import EarlyStop, Failure, Heartbeat
from pipeline.runs.state import read_early_stop, state_from_files, write_early_stop

FAILURE = Failure(cause="out of memory", message="needs 90 GiB,\n  has 80")
RUNNING = Heartbeat(status="running", host="node-7")
CONTINUE = "run the same command again to continue"


@pytest.mark.parametrize(
    ("heartbeat", "failure", "process_alive", "state"),
    [
        (None, None, False, ("waiting", "", "")),
        (RUNNING, None, True, ("running", "", "")),
        (
            RUNNING,
            None,
            False,
            ("stopped", "killed", f"its process on node-7 is gone; {CONTINUE}"),
        ),
        (Heartbeat(status="stopped"), None, True, ("stopped", "", CONTINUE)),
        (Heartbeat(status="stopped"), None, False, ("stopped", "", CONTINUE)),
        (None, FAILURE, False, ("failed", "out of memory", "needs 90 GiB, has 80")),
        (RUNNING, FAILURE, True, ("failed", "out of memory", "needs 90 GiB, has 80")),
        (Heartbeat(status="finished"), FAILURE, False, ("finished", "", "")),
    ],
)
def test_the_state_follows_from_heartbeat_failure_and_process(
    heartbeat: Heartbeat | None,
    failure: Failure | None,
    process_alive: bool,
    state: tuple[str, str, str],
):
    assert state_from_files(heartbeat, failure, process_alive=process_alive) == state


def test_a_run_with_a_damaged_file_has_failed_whatever_else_is_known():
    damage = "rows.jsonl cannot be read:\n  line 3"
    for heartbeat, failure in ((None, None), (Heartbeat(status="finished"), FAILURE)):
        found = state_from_files(heartbeat, failure, process_alive=True, damage=damage)
        assert found == ("failed", "damaged file", "rows.jsonl cannot be read: line 3")


def test_a_finished_run_that_was_stopped_early_is_finished_and_says_why():
    stop = EarlyStop(rule={"patience": 3}, message="stopped early", sweep="", epoch=5, updates=50)
    done = Heartbeat(status="finished")
    assert state_from_files(done, None, stop, process_alive=False)[::2] == (
        "finished",
        "stopped early",
    )


@pytest.mark.parametrize(
    "changed", [{"rule": 5}, {"message": 7}, {"updates": None}, {"epoch": "3"}]
)
def test_an_early_stop_with_a_value_of_another_type_is_none(tmp_path: Path, changed: dict):
    run = RunFolder(tmp_path)
    stop = EarlyStop(rule={"patience": 3}, message="stopped", sweep="", epoch=5, updates=50)
    write_early_stop(run, stop)
    assert read_early_stop(run) == stop
    write_json(tmp_path / "early_stop.json", asdict(stop) | changed)
    assert read_early_stop(run) is None
