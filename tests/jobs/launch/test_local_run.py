"""A sweep on this machine: what is printed and recorded when its tasks fail."""

from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.commands import parser
from jobs.local import executor
from jobs.local.executor import ExitStatus
from jobs.node import task_file
from pipeline.files import write_json
from pipeline.runs.folder import Failure


def fail_every_task(
    monkeypatch: pytest.MonkeyPatch, failure: Failure | None, code: int
) -> list[Path]:
    """Replace the processes: each task writes this failure, if any, and ends with `code`."""
    started: list[Path] = []

    def run_tasks(files, slots, code_folder, on_poll, on_exit) -> None:
        for file in files:
            started.append(file)
            if failure:
                write_json(task_file.failure_path(file), asdict(failure))
            on_exit(ExitStatus(file, code))

    monkeypatch.setattr(executor, "run_tasks", run_tasks)
    return started


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("code error", "{output} shows the traceback"),
        (
            "disk full",
            "free disk space, or take another work folder (WORK=…); then make sweep again",
        ),
    ],
)
def test_a_features_task_that_failed_names_a_remedy_that_needs_no_run(
    make_project, monkeypatch, capsys, cause: str, remedy: str
):
    project = make_project("an4")
    tasks = fail_every_task(monkeypatch, Failure(cause=cause, message="no"), 1)
    words = ["features", "--sweep", project.sweep_file, "--work", project.work]
    assert parser.main([str(word) for word in words]) == 1
    (line,) = (
        x for x in capsys.readouterr().out.splitlines() if x.startswith("features: " + cause)
    )
    output = executor.output_path(tasks[0])
    assert line.startswith(f"features: {cause}: no; {remedy}".format(output=output))
    assert "RUN=" not in line


def test_runs_without_features_are_not_started_and_a_process_that_died_gets_a_cause(
    make_project, monkeypatch, capsys
):
    project = make_project()
    tasks = fail_every_task(monkeypatch, None, -9)
    words = ["sweep", project.sweep_file, "--work", project.work]
    assert parser.main([str(word) for word in words]) == 1
    printed = capsys.readouterr().out
    assert "2 runs not started: the features are incomplete" in printed
    assert "features: killed: " in printed
    assert "times real time" not in printed
    assert len(tasks) == 1
    (entry,) = project.sweep_folder.ledger.entries()
    assert (entry.kind, entry.scheduler, entry.code) == (
        "features",
        "local",
        Path(__file__).resolve().parents[3].name,
    )
    assert not project.sweep_folder.owner_file.exists()
