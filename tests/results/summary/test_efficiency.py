"""Tests of the usage of resources: sums over a run's processes, and advice."""

import math
from pathlib import Path

import pytest

from pipeline.results.summary import efficiency
from pipeline.runs.folder import RunFolder, Usage

HALF = 2**29  # bytes


def test_figures_are_added_over_the_processes_that_had_the_run():
    first = Usage(began=0.0, seconds=100.0, cpu_seconds=300.0, peak_bytes=4 * HALF, cpus=4, gpus=1,
                  memory_gb=8.0, waited=50.0, gpu_busy=0.9)  # fmt: skip
    second = Usage(began=200.0, seconds=300.0, cpu_seconds=100.0, peak_bytes=HALF, cpus=8, gpus=2,
                   memory_gb=16.0, waited=10.0, gpu_busy=0.1)  # fmt: skip
    assert efficiency.summarise_usage([first, second]) == pytest.approx(
        {
            "cpus_asked": 8,
            "cpus_used": 400 / 400,
            "cpu_efficiency": 400 / (4 * 100 + 8 * 300),
            "memory_gib_asked": 16.0,
            "peak_memory_gib": 2.0,
            "gpu_busy": (90 + 30) / 400,
            "queue_seconds": 60.0,
            "gpu_hours": (100 + 600) / 3600,
        }
    )


def test_what_nobody_measured_is_empty():
    assert all(math.isnan(value) for value in efficiency.summarise_usage([]).values())
    found = efficiency.summarise_usage([Usage(began=0.0, seconds=1.0, cpu_seconds=1.0)])
    empty = {name for name, value in found.items() if math.isnan(value)}
    assert empty == {"memory_gib_asked", "peak_memory_gib", "gpu_busy"}


def test_usages_are_read_as_they_were_written(tmp_path: Path):
    run = RunFolder(tmp_path / "a1")
    assert run.usages() == []
    used = Usage(began=1.5, seconds=2.5, cpu_seconds=3.5, cpus=2)
    run.write_usages([used, used])
    assert repr(run.usages()) == repr([used, used])  # nan is not nan
    run.usage_file.write_text("[{}]")
    assert run.usages() == []


def line(**figures: object) -> dict[str, str]:
    return {"seconds": "3600", **{name: str(value) for name, value in figures.items()}}


def test_advice_names_what_was_asked_for_and_hardly_used():
    wasteful = line(cpus_asked=8, cpus_used=1.26, memory_gib_asked=16, peak_memory_gib=2.08)
    assert efficiency.resource_advice([wasteful]) == [
        "requested 8 CPUs, used 1.3: lower cpus in the profile",
        "requested 16 GiB of memory, used at most 2.1: lower memory_gb in the profile",
    ]
    # One run that needs the memory is reason enough to request it.
    needing = line(cpus_asked=8, cpus_used=1.0, memory_gib_asked=16, peak_memory_gib=15)
    assert len(efficiency.resource_advice([wasteful, needing])) == 1
    idle = line(gpu_busy=0.22)
    assert efficiency.resource_advice([idle]) == [
        "the GPU was busy 22 % of the time: raise runs_per_gpu in the profile"
    ]


def test_no_advice_without_measure_or_from_runs_that_were_over_at_once():
    thrifty = line(cpus_asked=8, cpus_used=7, memory_gib_asked=4, peak_memory_gib=3, gpu_busy=0.9)
    one_cpu = line(cpus_asked=1, cpus_used=0.2)
    short = {**line(cpus_asked=8, cpus_used=0.1), "seconds": "5"}
    assert (
        efficiency.resource_advice([thrifty, one_cpu, short, line(), {**line(), "gpu_busy": ""}])
        == []
    )
