"""Variance: how far seeds and speakers move the error rates of arms, relative to each rate.

In:   errors of each arm's runs, reference lengths, speakers.
Out:  the rates and their components of variance. NumPy only.
Not here: tests and intervals (inference.py), two single runs (significance.py).

A run's relative deviation from the mean of its arm has two parts: one that all speakers share, and
one of each speaker. The second part also moves the arm's mean from speaker to speaker, so it is
measured twice, over seeds and over speakers; `noise` is its variance, which is taken off once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.shapes import Float64, Int

MIN_SPEAKERS = 3  # fewer tell nothing about chance
PLATEAU_RATE = 0.9  # an arm above it prints blanks, and has no spread over seeds


@dataclass(frozen=True)
class Variance:
    """Rates of K arms on G speakers, and what moves them. Variances are relative: of rate 1."""

    rates: Float64[np.ndarray, " K"]  # means over the arm's seeds
    seeds: Int[np.ndarray, " K"]
    learnt: np.ndarray  # (K,), whether the arm has left the blank plateau
    deviation: float  # over seeds, pooled over arms; nan where no arm has two seeds
    freedom: int  # degrees of freedom of `deviation`
    noise: float  # variance of one run: the part of each speaker
    counts: Float64[np.ndarray, "K G"]  # errors, means over the arm's seeds
    totals: Float64[np.ndarray, " G"]  # reference length

    @property
    def share(self) -> Float64[np.ndarray, " G"]:
        """The share of each speaker in the reference."""
        return np.asarray(self.totals / self.totals.sum())

    @property
    def speaker_freedom(self) -> float:
        return freedom_of_speakers(self.totals)

    @cached_property
    def _influence(self) -> Float64[np.ndarray, "K G"]:
        """How far each speaker moves each arm's rate, relative to it; a row sums to zero."""
        moved = self.counts / self.totals.sum() - self.rates[:, None] * self.share
        return np.asarray(moved / np.where(self.rates > 0, self.rates, 1.0)[:, None])

    @cached_property
    def interaction_by_speaker(self) -> Float64[np.ndarray, " G"]:
        """Variance of an arm's rate because each speaker favours some arms, pooled over the arms.

        What a speaker does to all arms moves no difference.
        """
        chosen = self._influence[self.learnt]
        if len(chosen) < 2:
            return np.zeros(len(self.totals))
        return np.asarray(_correction(chosen.shape[1]) * chosen.var(0, ddof=1))

    @property
    def interaction(self) -> float:
        """Sum of `interaction_by_speaker`: the variance of an arm's rate."""
        return float(self.interaction_by_speaker.sum())

    @property
    def _shared(self) -> float:
        """Variance of every arm's rate because some speakers are hard for all arms."""
        influence_KG = self._influence[self.learnt]
        if not len(influence_KG):
            return 0.0
        return _correction(len(self.totals)) * float((influence_KG.mean(0) ** 2).sum())

    @property
    def _learnt_rates(self) -> Float64[np.ndarray, " K"]:
        """The rates, 0 for an arm of blanks, which are the same for every speaker."""
        return np.asarray(np.where(self.learnt, self.rates, 0.0))

    @cached_property
    def _covariance(self) -> Float64[np.ndarray, "K K"]:
        return jackknife_covariance(self.counts, self.totals)

    @property
    def of_seeds(self) -> Float64[np.ndarray, " K"]:
        """Variance of each arm's mean rate over seeds, in squared rates; nan if not known."""
        return np.asarray(np.where(self.learnt, self.deviation * self.rates, 0.0) ** 2 / self.seeds)

    @property
    def noise_of_means(self) -> Float64[np.ndarray, " K"]:
        """The part of `of_seeds` that the variance over speakers holds too."""
        return np.asarray(np.where(self.learnt, self.noise * self.rates**2, 0.0) / self.seeds)

    def of_differences_over_speakers(self) -> Float64[np.ndarray, "K K"]:
        """Return the variance of each difference of two arms: its own or the pooled one.

        The larger one counts, because few speakers estimate a pair's own variance badly.
        """
        own = variance_of_differences(self._covariance)
        found = np.maximum(own, self._pooled_over_speakers())
        noise = self.noise_of_means
        return np.asarray(np.maximum(found - noise[:, None] - noise, 0.0))

    def of_contrast(self, weights: Float64[np.ndarray, " K"]) -> tuple[float, float]:
        """Return the variance of a weighted sum of the rates, over speakers and over seeds."""
        own = float(weights @ self._covariance @ weights)
        squares, rates = weights**2, self._learnt_rates
        pooled = self.interaction * float(squares @ rates**2)
        pooled += self._shared * float(weights @ rates) ** 2
        noise = float(squares @ self.noise_of_means)
        seeds = float(squares @ self.of_seeds) if self.freedom else math.nan
        return max(max(own, pooled) - noise, 0.0), seeds

    def _pooled_over_speakers(self) -> Float64[np.ndarray, "K K"]:
        """Return the variance of differences if speakers favour every arm as strongly."""
        rates = self._learnt_rates
        squares, apart = rates**2, (rates[:, None] - rates) ** 2
        return np.asarray(self.interaction * (squares[:, None] + squares) + self._shared * apart)


def measure_variance(
    errors: Sequence[Int[np.ndarray, "_ U"]], totals: Int[np.ndarray, " U"], speakers: Sequence[str]
) -> Variance:
    """Measure K arms; `errors` holds (seeds, utterances) counts of each arm."""
    names, places = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    counts = [sum_by_speaker(each, places, len(names)) for each in errors]
    totals_G = sum_by_speaker(totals[None], places, len(names))[0]
    rates = np.array([each.sum() / len(each) for each in counts]) / totals_G.sum()
    learnt = (rates < PLATEAU_RATE) & (rates > 0)
    centred = [
        (each - each.mean(0)) / each.mean(0).sum()
        for each, ok in zip(counts, learnt, strict=True)
        if ok and len(each) > 1
    ]
    residuals = np.concatenate(centred) if centred else np.zeros((0, len(names)))
    freedom = len(residuals) - len(centred)
    of_runs = residuals.sum(1)
    of_speakers = residuals - of_runs[:, None] * totals_G / totals_G.sum()
    return Variance(
        rates=rates,
        seeds=np.array([len(each) for each in errors]),
        learnt=learnt,
        deviation=math.sqrt(float((of_runs**2).sum()) / freedom) if freedom else math.nan,
        freedom=freedom,
        noise=_correction(len(names)) * float((of_speakers**2).sum()) / max(freedom, 1),
        counts=np.stack([each.mean(0) for each in counts]),
        totals=totals_G,
    )


def sum_by_speaker(
    counts: Int[np.ndarray, "_ U"], places: Int[np.ndarray, " U"], speakers: int
) -> Float64[np.ndarray, "_ G"]:
    """Return the sums of each row over the utterances of each speaker; `places`: of whom."""
    sums = np.zeros((speakers, len(counts)))
    np.add.at(sums, places, counts.T)
    return np.ascontiguousarray(sums.T)


def freedom_of_speakers(totals_G: Float64[np.ndarray, " G"]) -> float:
    """Return the degrees of freedom of a variance over speakers: fewer where some speak far more.

    `totals_G`: the reference length of each speaker.
    """
    share_G = totals_G / totals_G.sum()
    return max(1 / float((share_G**2).sum()) - 1, 1.0)


def _correction(speakers: int) -> float:
    return speakers / max(speakers - 1, 1)


def jackknife_covariance(
    counts_KG: Float64[np.ndarray, "K G"], totals_G: Float64[np.ndarray, " G"]
) -> Float64[np.ndarray, "K K"]:
    """Return the covariance of the rates of K arms over the choice of speakers."""
    speakers = len(totals_G)
    if speakers < 2:
        return np.zeros((len(counts_KG), len(counts_KG)))
    left_KG = (counts_KG.sum(1, keepdims=True) - counts_KG) / (totals_G.sum() - totals_G)
    centred = left_KG - left_KG.mean(1, keepdims=True)
    return np.asarray((speakers - 1) / speakers * centred @ centred.T)


def variance_of_differences(covariance: np.ndarray) -> np.ndarray:
    """Return the variance of each difference of two, from covariances (..., K, K)."""
    diagonal = np.diagonal(covariance, axis1=-2, axis2=-1)
    return np.asarray(
        np.maximum(diagonal[..., :, None] + diagonal[..., None, :] - 2 * covariance, 0.0)
    )
