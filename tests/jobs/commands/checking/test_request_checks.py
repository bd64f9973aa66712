"""Request checks: all that is wrong with a refused job is named at once, each with its field."""

import pytest

from jobs.commands.checking.request_checks import check_refused_job
from jobs.profile import SlurmProfile
from jobs.slurm.resources import run_parameters

PROFILE = SlurmProfile(
    scheduler="slurm",
    partition="main",
    account="lab",
    qos="gold",
    gpus=9,
    cpus=64,
    minutes=60,
    sbatch={"licenses": "x", "exclusive": True},
)
STARTS = "echo Job 7 to start at 1800000000"


@pytest.fixture
def site(fake_slurm):
    """Return a function that sets which lines of a batch script sbatch refuses, with what error."""

    def make(**refused: str) -> None:
        script = fake_slurm("sbatch").parent / "bin" / "sbatch"
        cases = [f'*"{line}"*) echo "{error}" >&2; exit 1 ;;' for line, error in refused.items()]
        script.write_text(
            f'#!/bin/sh\ncase "$(/bin/cat)" in {" ".join(cases)} *) {STARTS} ;; esac\n'
        )

    return make


def found(kind: str = "") -> list[str]:
    """Return what is said of single requests, after the refusal of the whole job."""
    whole, *single = check_refused_job(run_parameters(PROFILE), kind, "the refusal")
    assert whole.text == f"{kind}the refusal"
    return [each.text for each in single]


def test_each_wrong_request_is_named_with_its_field_and_the_usual_cause(site):
    site(**{"--qos=gold": "error: Invalid qos", "--gres=gpu:9": "error: Invalid generic resource"})
    qos, gpus = found("features: ")
    assert qos == (
        "features: qos: gold: sbatch: error: Invalid qos — qos in the profile must be one that you "
        "may use"
    )
    assert gpus.startswith("features: gpus and gpu_type: gpu:9: sbatch: error: Invalid generic")
    assert gpus.endswith("— gpu_type in the profile must be one that sinfo -o %G lists")


def test_what_is_wrong_with_account_or_partition_does_not_hide_the_rest(site):
    site(**{"--account=lab": "error: Invalid account", "--cpus-per-task=64": "error: cpu count"})
    assert [text.split(":")[0] for text in found()] == ["account", "cpus"]


def test_an_option_under_sbatch_is_named(site):
    site(**{"--licenses=x": "error: Invalid license", "--exclusive=": "error: no value"})
    assert found() == ["sbatch: licenses: x: sbatch: error: Invalid license"]


def test_requests_that_are_right_alone_and_wrong_together_leave_the_refusal(site):
    site()
    assert found() == []


def test_a_site_that_denies_the_test_leaves_the_refusal_of_the_job(fake_slurm):
    fake_slurm("sbatch", complains="--test-only is disabled", code=1)
    assert found() == []
