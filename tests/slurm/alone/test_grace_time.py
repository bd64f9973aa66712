"""A grace time before preemption: read from SLURM, and used to save."""

import pytest

from jobs.profile import load_profile
from jobs.slurm.preemption import site_preemption_fields


def test_the_preemption_of_a_partition_is_read_from_slurm(slurm_project, set_grace_time):
    set_grace_time("CANCEL")
    main, priority = (
        site_preemption_fields(load_profile(slurm_project.write_profile(**place)))
        for place in ({}, {"partition": "priority"})
    )
    assert main == {
        "preemption": {"cancel"},
        "grace_s": {30},
        "user_signal_on_preempt": {False},
    }
    assert priority == {"preemption": {"none"}}


@pytest.mark.parametrize("mode", ["REQUEUE", "CANCEL"])
def test_a_run_that_saves_in_its_grace_time_is_requeued_and_a_cancelled_one_is_not(
    set_grace_time, slurm_project, reference_runs, run_program, mode
):
    set_grace_time(mode)
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(gpus=2))
    mel, power = slurm_project.run_folders("two").values()
    jobs = {label: run["job"] for label, run in slurm_project.run_states("two").items()}
    before = slurm_project.stop_in_training(mel)
    slurm_project.stop_in_training(power)
    assert run_program("scancel", jobs["power"]).code == 0
    slurm_project.wait_until(lambda: jobs["power"] not in slurm_project.queued_jobs())
    assert power.heartbeat().status == "stopped", "the run was killed before it saved"
    node = run_program("squeue", "--noheader", f"--jobs={jobs['mel']}", "--format=%N").out.strip()
    owner = slurm_project.sbatch(
        "--partition=priority", f"--nodelist={node}", "--gres=gpu:1", "--wrap=sleep 1"
    )
    slurm_project.wait_until(
        lambda: (
            slurm_project.queued_jobs().get(jobs["mel"], "").startswith("PENDING") or mel.finished
        )
    )
    assert not mel.finished
    assert mel.heartbeat().status == "stopped"
    slurm_project.wait_until(lambda: owner not in slurm_project.queued_jobs())
    slurm_project.await_jobs()
    reference_runs.assert_same_results({"mel": mel})
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert not power.finished
