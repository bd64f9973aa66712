"""The environment of commands and jobs: without what the user's shell would change."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs import environment

REPOSITORY = Path(__file__).resolve().parents[2]
SHELL = {
    "PATH": "/usr/bin",
    "LANG": "tr_TR.UTF-8",
    "SLURM_CONF": "/etc/slurm.conf",
    "TMPDIR": "/scratch/me",
    "SLURM_MEM_PER_CPU": "2000",
    "SLURM_EXPORT_ENV": "NONE",
    "SCANCEL_STATE": "PENDING",
    "SQUEUE_PARTITION": "gpu",
    "PYTHONPATH": "/opt/numpy",
    "PYTHONHOME": "/opt/python",
    "CUDA_VISIBLE_DEVICES": "3",
}


def test_slurm_gets_no_option_and_no_filter_of_the_shell():
    left = environment.slurm_environment(SHELL)
    assert SHELL.keys() - left.keys() == {
        "SLURM_MEM_PER_CPU", "SLURM_EXPORT_ENV", "SCANCEL_STATE", "SQUEUE_PARTITION",
    }  # fmt: skip


def test_a_job_gets_no_packages_no_gpu_and_no_temporary_folder_of_an_outer_job():
    left = environment.submission_environment(SHELL)
    assert left.keys() == {"PATH", "LANG", "SLURM_CONF", "TMPDIR"}
    inside = environment.submission_environment({**SHELL, "SLURM_JOB_ID": "7"})
    assert inside.keys() == {"PATH", "LANG", "SLURM_CONF"}


def test_a_task_imports_its_snapshot_whatever_the_shell_says(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    variables = environment.task_environment(tmp_path, 3)
    assert variables["PYTHONPATH"] == str(tmp_path)
    assert variables["PYTHONSAFEPATH"] == "1"
    assert variables["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("folder", ["foreign", "foreign/../foreign"])
def test_a_package_on_pythonpath_does_not_replace_a_locked_one(tmp_path: Path, folder: str):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "numpy.py").write_text("raise SystemExit('the foreign numpy')")
    code = (
        "from jobs.commands import parser\n"
        "parser.main(['--version'])\n"
        "import numpy, os\n"
        "print(numpy.__version__, os.environ.get('PYTHONPATH'))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment.os.environ, "PYTHONPATH": str(tmp_path / folder)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer
    assert answer.stdout.splitlines()[1].endswith(" None")
