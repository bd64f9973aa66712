"""Request checks: what a refused job requests, tested one by one with sbatch --test-only.

In:   the parameters of a job that sbatch refuses.   Out: a check result for each wrong request.
Not here: limits of the site (site_checks.py), jobs of the check (cluster_check.py).

sbatch names only the first thing that is wrong. A person would correct one field a round.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.environment import kept_sbatch_variables
from jobs.node.checks import CheckResult
from jobs.slurm import client, reasons
from jobs.slurm.client import SchedulerError

# Parameter of submitit -> the option of sbatch, and the field of the profile.
OPTIONS = {
    "partition": ("partition", "partition"),
    "account": ("account", "account"),
    "qos": ("qos", "qos"),
    "constraint": ("constraint", "constraint"),
    "wckey": ("wckey", "wckey"),
    "cpus_per_task": ("cpus-per-task", "cpus"),
    "mem": ("mem", "memory_gb"),
    "mem_per_cpu": ("mem-per-cpu", "memory_gb"),
    "time": ("time", "minutes"),
    "gres": ("gres", "gpus and gpu_type"),
    "gpus_per_node": ("gpus-per-node", "gpus and gpu_type"),
}
# Options that every job has, and that no field of the profile names.
OWN_OPTIONS = {"requeue", "comment"}
# The others are tested together with these, if they are right: they say where a job runs.
PLACE = ("account", "partition")


def check_refused_job(parameters: Mapping[str, Any], kind: str, refusal: str) -> list[CheckResult]:
    """Return the `refusal` of the whole job, then each request that SLURM refuses alone.

    `kind`: such as `features: `.
    """
    return [CheckResult(False, f"{kind}{refusal}"), *_wrong_requests(parameters, kind)]


def _wrong_requests(parameters: Mapping[str, Any], kind: str) -> Iterator[CheckResult]:
    variables = kept_sbatch_variables(parameters)
    requests = _requests(parameters)
    place: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name in (each for each in PLACE if each in requests):
        if refusal := _refusal({**place, name: requests[name]}, variables):
            wrong[name] = refusal
        else:
            place[name] = requests[name]
    # No job at all may be tested here, or there is no default for what is wrong.
    if without := _refusal(place, variables):
        wrong = {name: refusal for name, refusal in wrong.items() if refusal != without}
    else:
        others = (each for each in requests if each not in PLACE)
        wrong |= {name: _refusal({**place, name: requests[name]}, variables) for name in others}
    for name, refusal in wrong.items():
        if refusal:
            field = OPTIONS[name][1] if name in OPTIONS else f"sbatch: {name}"
            explained = reasons.add_usual_cause(refusal)
            yield CheckResult(False, f"{kind}{field}: {requests[name]}: {explained}")


def _requests(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the job requests: parameters in OPTIONS, and options under sbatch."""
    requests = {name: parameters[name] for name in OPTIONS if parameters.get(name) is not None}
    more = parameters["additional_parameters"]
    return requests | {name: value for name, value in more.items() if name not in OWN_OPTIONS}


def _refusal(requests: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Return why SLURM refuses a job with these requests alone; empty if it does not."""
    lines = [
        f"#SBATCH --{OPTIONS[name][0] if name in OPTIONS else name}"
        + ("" if value is True else f"={value}")
        for name, value in requests.items()
    ]
    try:
        client.expected_start("\n".join(["#!/bin/sh", *lines, "true", ""]), **variables)
    except SchedulerError as error:
        return str(error)
    return ""
