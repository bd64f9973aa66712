"""A sweep with `stop:` on this machine: its runs say why, and continue when it is relaxed."""

from collections.abc import Callable

import pandas as pd
import pytest

from jobs.commands import parser
from jobs.sweep.record import load_record
from pipeline.runs.folder import RunFolder
from pipeline.runs.state import read_early_stop

TIMES = ("seconds", "frames_per_second", "loader_wait", "peak_memory_bytes")
RULE = "stop: {plateau_updates: 1}\n"  # these runs have three updates in each epoch

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(run_tasks_in_process: None, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(verb: str, project, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        code = parser.main([verb, str(project.sweep_file), "--work", str(project.work), *options])
        return code, capsys.readouterr().out

    return run


def folders(project) -> list[RunFolder]:
    folder = project.sweep_folder
    return [folder.run(run.run_id) for run in load_record(folder).runs]


def rows_without_times(folder: RunFolder) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in folder.rows()]


def test_runs_on_the_plateau_are_stopped_and_continue_to_the_same_rows_when_relaxed(
    make_project, command, tmp_path_factory
):
    project = make_project(epochs=2)
    whole = project.sweep_file.read_text()
    project.sweep_file.write_text(whole + RULE)
    code, printed = command("sweep", project)
    assert code == 0
    assert (
        "stop: runs are stopped early if they are on the blank plateau after 1 updates" in printed
    )
    assert "2 runs: 2 stopped early" in printed
    assert "No answer: every arm has runs that were stopped early." in printed
    for run in folders(project):
        assert {row["epoch"] for row in run.rows()} == {1}
        record = read_early_stop(run)
        assert record
        assert (record.rule, record.sweep, record.epoch) == ({"plateau_updates": 1}, "tiny", 1)
        assert f"stopped early: {record.message}" in run.log_file.read_text()
    summary = pd.read_csv(project.sweep_folder.reports / "summary.csv")
    assert list(summary.state) == ["stopped early"] * 2
    assert summary.test_cer.isna().all()
    page = project.sweep_folder.report_file.read_text()
    assert "on the blank plateau after" in page

    code, printed = command("sweep", project)
    assert "nothing to do: 0 of 2 runs are finished, 2 stopped early by the rules" in printed
    assert len(project.sweep_folder.ledger.entries()) == 3  # one of features, two of runs
    _, printed = command("status", project, "--once")
    assert "2 runs: 2 stopped early" in printed

    project.sweep_file.write_text(whole)
    code, printed = command("sweep", project)
    assert (code, "2 runs: 2 finished" in printed) == (0, True)
    assert not any(map(read_early_stop, folders(project)))
    stopped = [rows_without_times(run) for run in folders(project)]

    project.sweep_file.write_text(whole)
    work = tmp_path_factory.mktemp("work")
    parser.main(["sweep", str(project.sweep_file), "--work", str(work)])
    assert stopped == [
        rows_without_times(RunFolder(work / "runs" / run.run_id)) for run in folders(project)
    ]


def test_a_stricter_rule_does_not_stop_what_is_finished(make_project, command):
    project = make_project(epochs=1)  # after the last epoch nothing is stopped
    project.sweep_file.write_text(project.sweep_file.read_text() + RULE)
    assert "2 runs: 2 finished" in command("sweep", project)[1]
    assert "nothing to do: 2 of 2 runs are finished" in command("sweep", project)[1]
