"""A finished run with damaged files is repaired by the next sweep, from its saved state."""

import pytest

from jobs.commands.parser import main
from jobs.sweep.record import load_record
from pipeline.runs.folder import RunFolder
from tests.training.loop.training_runs import settled


@pytest.mark.usefixtures("run_tasks_in_process")
def test_make_sweep_again_repairs_a_damaged_run(make_project, capfd):
    project = make_project(epochs=1)
    train = [
        "train",
        str(project.configs / "experiments" / "tiny.yaml"),
        "--work",
        str(project.work),
    ]
    assert main(train) == 0
    (folder,) = (project.work / "runs").iterdir()
    run = RunFolder(folder)
    rows, hypotheses = run.rows(), run.hypotheses()
    for name, left in (("rows.jsonl", 500), ("hypotheses.csv", 30), ("heartbeat.json", 0)):
        (folder / name).write_text((folder / name).read_text()[:left])
        assert not run.finished
        capfd.readouterr()
        assert main(train) == 0
        assert "1 run: 1 finished" in capfd.readouterr().out
        assert run.finished
        assert settled(run.rows()) == settled(rows)
        assert run.hypotheses() == hypotheses


@pytest.mark.usefixtures("run_tasks_in_process")
def test_report_names_a_damaged_run_and_make_sweep_again_restores_its_experiment(
    make_project, capfd
):
    project = make_project(epochs=1)
    words = [str(project.sweep_file), "--work", str(project.work)]
    assert main(["sweep", *words]) == 0
    runs = [project.sweep_folder.run(run.run_id) for run in load_record(project.sweep_folder).runs]
    written = [run.experiment_file.read_text() for run in runs]
    runs[0].experiment_file.write_text("features: [")
    runs[1].experiment_file.write_text(written[1].replace("epochs: 1\n", "epochs: 2\n"))
    capfd.readouterr()
    assert main(["report", *words]) == 0
    printed = " ".join(capfd.readouterr().out.split())
    assert "1 run failed, damaged file: power. Message: " in printed
    assert "Remedy: make sweep again: it writes the file again. Next: " in printed
    runs[0].heartbeat_file.unlink()  # so that it must be trained, from this file
    assert main(["sweep", *words]) == 0
    printed = capfd.readouterr().out
    assert printed.count("was damaged or edited, and is written again") == 2
    assert "2 runs: 2 finished" in printed
    assert "failed" not in printed
    assert [run.experiment_file.read_text() for run in runs] == written
