"""A finished run with damaged files is repaired by the next sweep, from its saved state."""

import pytest

from jobs.commands.parser import main
from pipeline.runs.folder import RunFolder
from tests.training.loop.training_runs import settled


@pytest.mark.usefixtures("run_tasks_in_process")
def test_make_sweep_again_repairs_a_damaged_run(make_project, capfd):
    bench = make_project(epochs=1)
    train = ["train", str(bench.configs / "experiments" / "tiny.yaml"), "--work", str(bench.work)]
    assert main(train) == 0
    (folder,) = (bench.work / "runs").iterdir()
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
