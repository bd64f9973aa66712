"""Survival: how long runs stay where they are, where some never leave. NumPy only.

In:   of each run the updates until it escaped, or the updates it was watched for.
Out:  the estimate of Kaplan and Meier (1958), the log-rank test of groups (Mantel 1966).
Not here: which runs are a group, and what an escape is (results/effects/escape.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.shapes import Bool, Float64


@dataclass(frozen=True)
class Survival:
    """A curve of steps: `share[i]` of the runs are left after `updates[i]`, until the next time."""

    updates: Float64[np.ndarray, " T"]  # ascending; each time at which a run left or was lost
    at_risk: Float64[np.ndarray, " T"]  # runs watched until just before
    escaped: Float64[np.ndarray, " T"]  # at this time
    censored: Float64[np.ndarray, " T"]  # at this time, without an escape
    share: Float64[np.ndarray, " T"]


@dataclass(frozen=True, slots=True)
class LogRank:
    statistic: float  # nan if there is nothing to compare
    freedom: int
    p: float


def kaplan_meier(updates: Float64[np.ndarray, " R"], escaped: Bool[np.ndarray, " R"]) -> Survival:
    """Return the share of runs that have not escaped, over time; a run that is lost is censored."""
    times = np.unique(updates)
    at_risk = (updates[None] >= times[:, None]).sum(1).astype(float)
    events = ((updates[None] == times[:, None]) & escaped[None]).sum(1).astype(float)
    lost = ((updates[None] == times[:, None]) & ~escaped[None]).sum(1).astype(float)
    return Survival(times, at_risk, events, lost, np.cumprod(1 - events / at_risk))


def log_rank(
    updates: Float64[np.ndarray, " R"], escaped: Bool[np.ndarray, " R"], groups: Sequence[str]
) -> LogRank:
    """Test whether all groups of runs escape equally fast; two or more groups."""
    names, places = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    member_GR = places[None] == np.arange(len(names))[:, None]
    observed, covariance = np.zeros(len(names)), np.zeros((len(names), len(names)))
    for time in np.unique(updates[escaped]):
        at_risk_R = updates >= time
        count = float(at_risk_R.sum())
        risk = (member_GR & at_risk_R).sum(1)
        leaving = escaped & (updates == time)
        events = float(leaving.sum())
        observed += (member_GR & leaving).sum(1) - events * risk / count
        if count > 1:
            spread = events * (count - events) / (count - 1)
            share = risk / count
            covariance += spread * (np.diag(share) - np.outer(share, share))
    freedom = int(np.linalg.matrix_rank(covariance)) if len(names) > 1 else 0
    if not freedom:
        return LogRank(math.nan, 0, math.nan)
    statistic = float(observed @ np.linalg.pinv(covariance, hermitian=True) @ observed)
    return LogRank(statistic, freedom, chi_square_tail(statistic, freedom))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Return P(chi-square with `freedom` degrees >= statistic), by its finite sum."""
    half = max(statistic, 0.0) / 2
    if freedom % 2:
        term = math.sqrt(4 * half / math.pi) * math.exp(-half) if half else 0.0
        total, first = math.erfc(math.sqrt(half)), 3
    else:
        term = math.exp(-half)
        total, first = 0.0, 2
    for degrees in range(first, freedom + 1, 2):
        total += term
        term *= 2 * half / degrees
    return min(total, 1.0)
