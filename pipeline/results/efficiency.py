"""Thrift: what runs used of what their jobs had asked for, and a line of advice about it.

In:   what each process noted.   Out: columns of summary.csv; lines for a person.
Not here: measuring it (jobs/meter.py).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.runs.folder import Usage

EFFICIENCY_COLUMNS = (
    *("cpus_asked", "cpus_used", "cpu_efficiency", "memory_gb_asked", "peak_memory_gb"),
    *("gpu_busy", "queue_seconds", "gpu_hours"),
)
LOW_USE_SHARE = 0.5  # less used than this share is worth a line
MIN_JUDGED_DURATION_S = 60.0  # a shorter run mostly started


def summarise_usage(usages: Sequence[Usage]) -> dict[str, Any]:
    """Times added over the processes that had the run; nothing where none was noted."""
    if not usages:
        return dict.fromkeys(EFFICIENCY_COLUMNS, math.nan)
    seconds = sum(one.seconds for one in usages)
    cpu_seconds = sum(one.cpu_seconds for one in usages)
    given = sum(one.cpus * one.seconds for one in usages)
    last = usages[-1]
    return {
        "cpus_asked": last.cpus,
        "cpus_used": cpu_seconds / seconds if seconds else math.nan,
        "cpu_efficiency": cpu_seconds / given if given else math.nan,
        "memory_gb_asked": math.nan if last.memory_gb is None else last.memory_gb,
        "peak_memory_gb": max(one.peak_bytes for one in usages) / 2**30 or math.nan,
        "gpu_busy": _weighted_mean([(one.gpu_busy, one.seconds) for one in usages]),
        "queue_seconds": sum(one.waited for one in usages if not math.isnan(one.waited)),
        "gpu_hours": sum(one.gpus * one.seconds for one in usages) / 3600,
    }


def _weighted_mean(shares: Sequence[tuple[float, float]]) -> float:
    known = [(share, seconds) for share, seconds in shares if not math.isnan(share)]
    whole = sum(seconds for _, seconds in known)
    return sum(share * seconds for share, seconds in known) / whole if whole else math.nan


def resource_advice(summary_rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Of the lines of summary.csv: what was asked for and hardly used."""
    long = [
        line for line in summary_rows if _column_value(line, "seconds") >= MIN_JUDGED_DURATION_S
    ]
    found = []
    cpus, used = _column_median(long, "cpus_asked"), _column_median(long, "cpus_used")
    if cpus > 1 and used < LOW_USE_SHARE * cpus:
        found.append(f"asked for {cpus:.0f} CPUs, used {used:.1f}: lower cpus in the profile")
    asked, peak = _column_median(long, "memory_gb_asked"), _column_max(long, "peak_memory_gb")
    if peak < LOW_USE_SHARE * asked:
        found.append(f"asked for {asked:.3g} GB, peaked at {peak:.2g}: lower memory_gb")
    busy = _column_median(long, "gpu_busy")
    if busy < LOW_USE_SHARE:
        found.append(f"the GPU was busy {100 * busy:.0f} % of the time: raise runs_per_gpu")
    return found


def _column_value(row: Mapping[str, str], name: str) -> float:
    return float(row.get(name) or math.nan)


def _column_values(rows: Sequence[Mapping[str, str]], name: str) -> list[float]:
    return [value for line in rows if not math.isnan(value := _column_value(line, name))]


def _column_median(rows: Sequence[Mapping[str, str]], name: str) -> float:
    return statistics.median(_column_values(rows, name) or [math.nan])


def _column_max(rows: Sequence[Mapping[str, str]], name: str) -> float:
    return max(_column_values(rows, name), default=math.nan)
