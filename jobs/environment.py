"""The environment of commands and jobs: of the user's shell only what does them no harm.

In:   the environment variables of this process, the folder of the running code.
Out:  the variables for a task, for SLURM's commands, for a submission; `sys.path` of this process.
Not here: the code that a task imports (code_snapshot.py), variables of nodes (slurm/sbatch.py).

Environment modules, conda and an outer job set variables that change what a job imports, or that
contradict what it requests: PYTHONPATH puts another numpy first, and with SLURM_MEM_PER_CPU of an
outer job srun refuses to start.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent  # of the running code

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# Options and filters of SLURM's commands, and what a job sees of itself.
SLURM_PREFIXES = tuple(
    f"{name}_"
    for name in (
        *("SLURM", "SLURMD", "SBATCH", "SALLOC", "SRUN", "SQUEUE", "SACCT", "SCANCEL", "SINFO"),
        *("SCONTROL", "SACCTMGR", "SUBMITIT", "PMI", "PMIX"),
    )
)
# These find the cluster, or SLURM's own programs.
KEPT_SLURM_VARIABLES = {
    *("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"),
    *("SLURM_HOME", "SLURM_ROOT", "SLURM_BIN"),
}
# Variable of sbatch -> the field of the profile that it replaces if that is null.
ALLOWED_SBATCH_VARIABLES = {
    f"SBATCH_{name.upper()}": name
    for name in ("account", "constraint", "partition", "qos", "reservation", "wckey")
}
# An outer job or a person chose a GPU with them; SLURM sets them for the new job.
DEVICE_VARIABLES = {
    *("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES"),
    *("HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"),
}

_addressed = {"SLURM_CLUSTERS": ""}  # variable -> the cluster that SLURM's commands address


def task_environment(snapshot: Path, threads: int) -> dict[str, str]:
    """Return the environment variables of a task: its code first on the path, its threads.

    Without PYTHONSAFEPATH, `python -m` would import from the folder in which the job starts.
    Numbers and letters do not depend on the language of the shell.
    """
    return {
        "PYTHONPATH": str(snapshot),
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
        "LC_ALL": "C",
        **{name: str(threads) for name in THREAD_VARIABLES},
    }


def address_cluster(name: str) -> None:
    """Let all later commands of SLURM address this cluster; "": the one of this host."""
    _addressed["SLURM_CLUSTERS"] = name


def addressed_cluster() -> str:
    return _addressed["SLURM_CLUSTERS"]


def slurm_environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for SLURM's commands: a filter such as SQUEUE_PARTITION hides jobs."""
    kept = {
        name: value
        for name, value in variables.items()
        if not name.startswith(SLURM_PREFIXES) or name in KEPT_SLURM_VARIABLES
    }
    return kept | _addressed if addressed_cluster() else kept


def submission_environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for sbatch, which passes it on to the job.

    An outer job has its own temporary folder, which is gone when that job ends.
    """
    unwanted = DEVICE_VARIABLES | ({"TMPDIR"} if "SLURM_JOB_ID" in variables else set())
    return {
        name: value
        for name, value in slurm_environment(variables).items()
        if name not in unwanted and not name.startswith("PYTHON")
    }


def kept_sbatch_variables(
    job_parameters: Mapping[str, Any], variables: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables of sbatch that count, because the profile leaves their field null.

    They have precedence over the batch script. Some sites tell their users to set SBATCH_ACCOUNT.
    """
    return {
        name: variables[name]
        for name, field in ALLOWED_SBATCH_VARIABLES.items()
        if name in variables and job_parameters.get(field) is None
    }


def use_locked_packages_alone(root: Path) -> None:
    """Take the folders of PYTHONPATH off `sys.path`, for this process and those that it starts.

    `root`, from which this program runs, stays.
    """
    folders = [Path(each).resolve() for each in _pythonpath().split(os.pathsep) if each]
    foreign = {each for each in folders if each != root and not each.is_relative_to(sys.prefix)}
    if foreign:
        sys.path[:] = [path for path in sys.path if Path(path).resolve() not in foreign]
    if root in folders:
        os.environ["PYTHONPATH"] = str(root)


def _pythonpath() -> str:
    """Return PYTHONPATH, and remove it together with PYTHONHOME from the environment."""
    os.environ.pop("PYTHONHOME", None)
    return os.environ.pop("PYTHONPATH", "")
