"""Efficiency: what runs used of the resources that their jobs requested, and advice about it.

In:   the usage that each process of a run recorded.
Out:  columns of summary.csv, as SLURM's `seff` has them; lines of advice.
Not here: measuring the usage, which the job does on its node.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.runs.folder import Usage

EFFICIENCY_COLUMNS = (
    *("cpus_asked", "cpus_used", "cpu_efficiency", "memory_gib_asked", "peak_memory_gib"),
    *("gpu_busy", "queue_seconds", "gpu_hours"),
)
LOW_USE_SHARE = 0.5  # advice is given if less than this share was used
MIN_JUDGED_DURATION_S = 60.0  # a shorter run spends most of its time starting


def summarise_usage(usages: Sequence[Usage]) -> dict[str, Any]:
    """Return EFFICIENCY_COLUMNS, with times summed over a run's processes; nan if not recorded."""
    if not usages:
        return dict.fromkeys(EFFICIENCY_COLUMNS, math.nan)
    seconds = sum(usage.seconds for usage in usages)
    cpu_seconds = sum(usage.cpu_seconds for usage in usages)
    allocated = sum(usage.cpus * usage.seconds for usage in usages)
    last = usages[-1]
    return {
        "cpus_asked": last.cpus,
        "cpus_used": cpu_seconds / seconds if seconds else math.nan,
        "cpu_efficiency": cpu_seconds / allocated if allocated else math.nan,
        "memory_gib_asked": math.nan if last.memory_gb is None else last.memory_gb,
        "peak_memory_gib": max(usage.peak_bytes for usage in usages) / 2**30 or math.nan,
        "gpu_busy": _weighted_mean([(usage.gpu_busy, usage.seconds) for usage in usages]),
        "queue_seconds": sum(usage.waited for usage in usages if not math.isnan(usage.waited)),
        "gpu_hours": sum(usage.gpus * usage.seconds for usage in usages) / 3600,
    }


def _weighted_mean(shares: Sequence[tuple[float, float]]) -> float:
    known = [(share, seconds) for share, seconds in shares if not math.isnan(share)]
    total = sum(seconds for _, seconds in known)
    return sum(share * seconds for share, seconds in known) / total if total else math.nan


def resource_advice(summary_rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each resource of which less than half was used."""
    long = [row for row in summary_rows if _column_value(row, "seconds") >= MIN_JUDGED_DURATION_S]
    advice = []
    cpus, used = _column_median(long, "cpus_asked"), _column_median(long, "cpus_used")
    if cpus > 1 and used < LOW_USE_SHARE * cpus:
        advice.append(f"requested {cpus:.0f} CPUs, used {used:.1f}: lower cpus in the profile")
    # The largest peak, because one run that needs the memory is reason enough to request it.
    memory, peak = _column_median(long, "memory_gib_asked"), _column_max(long, "peak_memory_gib")
    if peak < LOW_USE_SHARE * memory:
        advice.append(
            f"requested {memory:.3g} GiB of memory, used at most {peak:.2g}: lower memory_gb in "
            "the profile"
        )
    busy = _column_median(long, "gpu_busy")
    if busy < LOW_USE_SHARE:
        advice.append(
            f"the GPU was busy {100 * busy:.0f} % of the time: raise runs_per_gpu in the profile"
        )
    return advice


def _column_value(row: Mapping[str, Any], name: str) -> float:
    return float(row.get(name) or math.nan)


def _column_values(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [value for row in rows if not math.isnan(value := _column_value(row, name))]


def _column_median(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.median(_column_values(rows, name) or [math.nan])


def _column_max(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return max(_column_values(rows, name), default=math.nan)
