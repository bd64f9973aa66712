"""Paired systems: two ways of reading the output of the same trained networks.

In:   errors of both ways, by run and utterance; reference lengths, speakers.
Out:  the difference of their error rates with its interval over seeds and speakers. NumPy only.
Not here: arms, whose networks are different ones (inference.py).

The difference is taken network by network. Its variance has a part of the seeds (the spread of the
differences of single networks) and a part of the speakers (delete-one-speaker jackknife of the mean
difference). What seeds change for single speakers is in both: the interval is a little too wide.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.results.statistics.reference_draws import LEVEL, SINGLE_DRAWS, draw_single_t
from pipeline.results.statistics.variance import (
    MIN_SPEAKERS,
    freedom_of_speakers,
    jackknife_covariance,
    sum_by_speaker,
)
from pipeline.shapes import Int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The rate of b less that of a. With one network, the interval is over speakers only."""

    difference: float
    low: float  # nan: too few speakers
    high: float


def compare_paired(
    errors_a_RU: Int[np.ndarray, "R U"],
    errors_b_RU: Int[np.ndarray, "R U"],
    totals_U: Int[np.ndarray, " U"],
    speakers: list[str],
    comparisons: int = 1,
) -> PairedDifference:
    """Compare two systems; the interval allows for `comparisons` of them (Bonferroni)."""
    names, places = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    changes_RG = sum_by_speaker(errors_b_RU - errors_a_RU, places, len(names))
    totals_G = sum_by_speaker(totals_U[None], places, len(names))[0]
    rates_R = changes_RG.sum(1) / totals_G.sum()
    difference = float(rates_R.mean())
    if len(names) < MIN_SPEAKERS:
        return PairedDifference(difference, math.nan, math.nan)
    of_speakers = float(jackknife_covariance(changes_RG.mean(0)[None], totals_G)[0, 0])
    parts = [(of_speakers, freedom_of_speakers(totals_G))]
    if len(rates_R) > 1:
        parts.append((float(rates_R.var(ddof=1)) / len(rates_R), float(len(rates_R) - 1)))
    error = math.sqrt(sum(variance for variance, _ in parts))
    if not error:
        return PairedDifference(difference, difference, difference)
    drawn = draw_single_t(parts, SINGLE_DRAWS, 0)
    half = float(np.quantile(drawn, 1 - (1 - LEVEL) / max(comparisons, 1))) * error
    return PairedDifference(difference, difference - half, difference + half)
