"""Start times: what sbatch --test-only says of jobs, and what a site says that denies it."""

import time

import pytest

from jobs.launch.preview.start_times import JobScript, start_lines
from jobs.slurm import client

NOW = 1_800_000_000.0
JOBS = [JobScript("features", "#!/bin/sh\n", {}), JobScript("runs", "#!/bin/sh\n", {})]
SAYS = "sbatch: Job 12 to start at {:.0f} using 1 processors on nodes node1 in partition main\n"


def lines(jobs=JOBS) -> list[str]:
    return list(start_lines(jobs, NOW))


def test_kinds_that_start_at_the_same_time_share_a_line(fake_slurm):
    calls = fake_slurm("sbatch", complains=SAYS.format(NOW + 20))
    assert lines() == ["start of features and runs: SLURM expects it at once"]
    assert calls.read_text() == "--test-only\n" * 2


def test_a_late_start_is_told_with_its_time(fake_slurm):
    fake_slurm("sbatch", "motd: be kind\n", complains=SAYS.format(NOW + 7500))
    when = time.strftime("%d %b %H:%M", time.localtime(NOW + 7500))  # NOW is not today
    assert lines(JOBS[:1]) == [f"start of features: SLURM expects it at {when}, in 2 h 05 min"]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            {"complains": "sbatch: error: --test-only is disabled here\n", "code": 1},
            "sbatch: error: --test-only is disabled here",
        ),
        ({"prints": "0xdeadbeef ☃"}, "no time is in what it printed: 0xdeadbeef ☃"),
        ({}, "no time is in what it printed: nothing"),
    ],
)
def test_a_site_that_denies_it_costs_one_line(fake_slurm, answer, line):
    fake_slurm("sbatch", **answer)
    assert lines() == [f"start of features and runs: not known (sbatch --test-only): {line}"]


def test_a_site_that_does_not_answer_costs_little_time(fake_slurm, monkeypatch):
    monkeypatch.setattr(client, "TEST_TIMEOUT_S", 0.1)
    script = fake_slurm("sbatch").parent / "bin" / "sbatch"
    script.write_text("#!/bin/sh\nexec /bin/sleep 9\n")
    began = time.monotonic()
    (line,) = lines()
    assert "not known (sbatch --test-only): sbatch did not answer within" in line
    assert time.monotonic() - began < 5


def test_variables_that_the_submission_keeps_reach_sbatch(fake_slurm):
    script = fake_slurm("sbatch").parent / "bin" / "sbatch"
    script.write_text('#!/bin/sh\necho "$SBATCH_ACCOUNT to start at 1800000000 $(/bin/cat)"\n')
    assert lines([JobScript("runs", "x", {"SBATCH_ACCOUNT": "lab"})]) == [
        "start of runs: SLURM expects it at once"
    ]
