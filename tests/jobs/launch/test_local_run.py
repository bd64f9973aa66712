"""A sweep on this machine: what is printed and recorded when its tasks fail."""

from dataclasses import asdict
from pathlib import Path

import pytest
import soundfile

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


@pytest.mark.usefixtures("run_tasks_in_process")
def test_the_same_sound_under_two_names_is_named_once(make_project, capsys):
    """A copy in another format is found by its samples, a copy of the file by its bytes."""
    project = make_project("an4")
    one, other, copy = (project.wav_path(f"faaa-an{n}-b") for n in range(3))
    samples, rate = soundfile.read(one, dtype="int16")
    soundfile.write(other, samples, rate, format="FLAC")
    copy.write_bytes(one.read_bytes())
    words = ["features", "--sweep", project.sweep_file, "--work", project.work]
    for _ in range(2):
        assert parser.main([str(word) for word in words]) == 0
        printed = capsys.readouterr().out
        assert printed.count("tiny: 1 recording listed twice: faaa-an0-b = faaa-an2-b\n") == 1
        assert printed.count("tiny: the same sound: 1 pair: faaa-an0-b = faaa-an1-b\n") == 1
        assert "faaa-an1-b = faaa-an2-b" not in printed
