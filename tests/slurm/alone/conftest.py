"""Settings of the whole SLURM, which a test changes and its end restores."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.conftest import REPOSITORY, run_command


@pytest.fixture
def set_grace_time(slurm_lock: None) -> Iterator[Callable[[str], None]]:
    """`set_grace_time("CANCEL")`: preempted jobs are cancelled after 30 s, as at some sites."""

    def set_to(mode: str, seconds: int = 30) -> None:
        words = ("PartitionName=main", f"PreemptMode={mode}", f"GraceTime={seconds}")
        assert run_command("scontrol", "update", *words).code == 0

    yield set_to
    set_to("REQUEUE", 0)


@pytest.fixture
def slurm_up(slurm_lock: None) -> Callable[..., None]:
    """`slurm_up()` starts the daemons that are down; with other settings it restarts them."""
    state = Path(os.environ.get("BLANKSLATE_SLURM_STATE", "/var/lib/blankslate-slurm"))
    if not os.access(state / "run" / "slurmctld.pid", os.W_OK):
        pytest.skip("this SLURM is not the development one, or not this user's to restart")

    def start(**settings: str) -> None:
        answer = run_command(
            REPOSITORY / "cluster" / "dev" / "slurm-up",
            stdin=subprocess.DEVNULL,
            env={**os.environ, **settings},
        )
        assert answer.code == 0, answer

    return start
