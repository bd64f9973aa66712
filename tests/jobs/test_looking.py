"""Looking at a sweep, and cancelling it: what its ledger knows, and what it does not."""

import argparse

from jobs import looking
from jobs.ledger import Entry
from jobs.scheduler import mark_of
from jobs.wanted import SweepFolder


def test_cancel_finds_a_job_that_an_interrupted_submission_left(tmp_path, fake_slurm, capsys):
    folder = SweepFolder(tmp_path.resolve(), "spectrum")
    folder.jobs.mkdir(parents=True)
    cancelled = fake_slurm("scancel")
    others = mark_of(folder.work / "another" / "jobs")
    line = "{}|PENDING|Priority|main|lab|normal|N/A|{}1\n"
    fake_slurm("squeue", line.format("20_0", mark_of(folder.jobs)) + line.format("21", others))
    options = argparse.Namespace(sweep="spectrum", cluster=None, work=folder.work)
    assert looking.cancel(options) == 0
    assert cancelled.read_text().split() == ["20"]
    assert "cancelled 1 job: 20" in capsys.readouterr().out
    entry = Entry(time=1.0, scheduler="slurm", job="21", kind="runs", items=(), task="t", code="c")
    folder.ledger.append([entry])
    assert looking.cancel(options) == 0
    assert cancelled.read_text().split() == ["20", "20", "21"]
