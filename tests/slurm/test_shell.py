"""What a user's shell and a site's wrappers add changes no result and submits nothing twice."""

import os
import shutil
from pathlib import Path

import pytest

SHELL = {
    "SLURM_MEM_PER_CPU": "2000",
    "SLURM_GPUS": "3",
    "SLURM_EXPORT_ENV": "NONE",
    "SBATCH_EXPORT": "NONE",
    "SQUEUE_PARTITION": "priority",
    "SCANCEL_STATE": "SUSPENDED",
    "LC_ALL": "tr_TR.ISO-8859-9",
    "TZ": "Asia/Tokyo",
    "HOME": "/nonexistent",
    "CUDA_VISIBLE_DEVICES": "5",
    # An interactive job whose terminal is not this one's.
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "BLANKSLATE_IN_JOB": "1",
}


@pytest.fixture
def foreign_shell(tmp_path: Path) -> dict[str, str]:
    """A shell with another numpy, an sbatch that greets, and accounting that is closed."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "numpy.py").write_text("raise SystemExit('the foreign numpy')")
    commands = {
        "sbatch": f'echo "--> job 3 of 5 allowed"\nexec {shutil.which("sbatch")} "$@"\n',
        "sacctmgr": 'echo "sacctmgr: error: Access/permission denied" >&2\nexit 1\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**SHELL, "PYTHONPATH": str(tmp_path / "foreign"), "PATH": path}


def test_a_foreign_shell_changes_no_result(slurm_project, reference_runs, foreign_shell):
    printed = slurm_project.submit_sweep("two", environment=foreign_shell)
    assert "Access/permission denied: the limits of your account and qos are not known" in printed
    again = slurm_project.submit_sweep("two", environment=foreign_shell)
    assert "nothing to submit" in again
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
    entries = slurm_project.ledger_entries("two")
    assert len(entries) == 3
    assert {(entry.cluster, entry.user != "") for entry in entries} == {("blankslate", True)}
