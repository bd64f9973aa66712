"""Metrics: the sums of one epoch on one split, which become a row; an unfinished evaluation.

In:   the losses, texts, output statistics and times of batches.   Out: a row; a dict for the state.
Not here: where the values come from (train_step.py, evaluator.py, trainer.py).

Only sums are kept. Each rate is one division, when the row is made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from pipeline.decoding.scoring import ErrorCount, Score, Scoring
from pipeline.runs.rows import CLAMPED_LAYERS, Row
from pipeline.training.network.output_stats import OutputStats

MAX_NONFINITE_IDS = 5  # utterances in a row
# Keys in the states of earlier programs, and their names now.
FORMER_KEYS = {
    "tally": "metrics",
    "health": "output_stats",
    "heard": "evaluations",
    "rank": "selection_key",
}


def rename_former_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier program stored, with the names of now."""
    return {FORMER_KEYS.get(name, name): value for name, value in values.items()}


@dataclass
class EpochMetrics:
    """Sums over an epoch on one split. state.pt stores the fields under these names."""

    output_stats: OutputStats
    loss: float = 0.0  # nats; sum over the utterances that can be aligned
    loss_per_label: float = 0.0  # sum of each utterance's loss divided by its number of labels
    aligned: int = 0  # utterances that can be aligned
    score: Score = field(default_factory=Score)
    utterances: int = 0
    empty: int = 0  # hypotheses without a character other than spaces
    emitted: int = 0  # characters, or phonemes, of the hypotheses
    frames: int = 0  # as stored, before stacking
    largest_z: float = 0.0
    nonfinite: list[str] = field(default_factory=list)  # ids of utterances that were left out
    grad_norm: float = 0.0  # sum over the updates with a finite norm
    normed: int = 0  # updates with a finite norm
    rates: float = 0.0  # sum of the learning rates of the updates
    updates: int = 0  # in this epoch
    update_size: float = 0.0  # sum over the updates whose size was measured
    sized: int = 0  # updates whose size was measured
    seconds: float = 0.0
    waited: float = 0.0  # the seconds of them spent waiting for batches

    def add_losses(self, losses: Sequence[float], labels: Sequence[int]) -> None:
        """Add each utterance's loss and number of labels; an infinite loss means not alignable."""
        finite = [(loss, n) for loss, n in zip(losses, labels, strict=True) if loss != math.inf]
        self.loss += sum(loss for loss, _ in finite)
        self.loss_per_label += sum(loss / n for loss, n in finite)
        self.aligned += len(finite)

    def add_texts(
        self,
        references: Sequence[str],
        hypotheses: Sequence[str],
        scoring: Scoring = Scoring(),  # noqa: B008 (it is frozen)
    ) -> None:
        self.score += scoring.score_corpus(zip(references, hypotheses, strict=True))
        self.utterances += len(references)
        self.empty += sum(not hypothesis.strip() for hypothesis in hypotheses)
        self.emitted += sum(map(scoring.count, hypotheses))

    def to_row(
        self,
        *,
        run_id: str,
        epoch: int,
        split: str,
        updates: int,
        reference_loss: float,
        infeasible: int,
        suspicious: int,
        length_correlation: float,
        learning_rate: float,
        peak_memory_bytes: int,
        weights: str,
    ) -> Row:
        """Divide the sums once and return the row. Both losses per character are torch's 'mean'.

        That is: each utterance's loss over its number of labels, averaged over the utterances.
        """
        columns = {
            "run_id": run_id,
            "epoch": epoch,
            "split": split,
            "updates": updates,
            "loss_per_utterance": _ratio(self.loss, self.aligned),
            "loss_per_character": _ratio(self.loss_per_label, self.aligned),
            "reference_loss": reference_loss,
            **self._score_columns(),
            "utterances": self.utterances,
            "infeasible": infeasible,
            "blank_argmax": self.output_stats.blank_argmax,
            "blank_posterior": self.output_stats.blank_posterior,
            "empty_hypotheses": self.empty,
            "input_dependence": self.output_stats.input_dependence,
            "clamp_saturation": self.output_stats.ceiling_share,
            "grad_norm": _ratio(self.grad_norm, self.normed),
            "learning_rate": learning_rate,
            "frames": self.frames,
            "seconds": self.seconds,
            "frames_per_second": _ratio(self.frames, self.seconds),
            "loader_wait": _ratio(self.waited, self.seconds),
            "peak_memory_bytes": peak_memory_bytes,
        }
        last = {
            "suspicious_utterances": suspicious,
            "weights": weights,
            "length_correlation": length_correlation,
        }
        return cast("Row", columns | self._diagnostic_columns() | last)

    def _score_columns(self) -> dict[str, Any]:
        """Return the error rates and their counts."""
        score = self.score
        return {
            "cer": score.cer,
            "cer_no_spaces": score.cer_no_spaces,
            "wer": score.wer,
            "ser": score.ser,
            "char_errors": score.characters.errors,
            "chars": score.characters.reference,
            "word_errors": score.words.errors,
            "words": score.words.reference,
        }

    def _diagnostic_columns(self) -> dict[str, Any]:
        """Return the columns that describe the training and the input."""
        return {
            "emitted_chars": self.emitted,
            "length_ratio": _ratio(self.emitted, self.score.characters.reference),
            "largest_z": self.largest_z if self.frames else math.nan,
            "update_size": _ratio(self.update_size, self.sized),
            "learning_rate_sum": self.rates if self.updates else math.nan,
            "skipped_updates": self.updates - self.normed,
            "nonfinite_utterances": len(self.nonfinite),
            "nonfinite_ids": " ".join(self.nonfinite[:MAX_NONFINITE_IDS]),
            **self._saturation_columns(),
        }

    def _saturation_columns(self) -> dict[str, float]:
        """Return each layer's shares of activations at zero and at the ceiling of the clamp."""
        return {
            f"saturation_{layer}_{end}": share
            for layer, shares in zip(CLAMPED_LAYERS, self.output_stats.clamp_shares, strict=True)
            for end, share in zip(("zero", "ceiling"), shares, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, strings and lists only: torch.load reads them with weights_only."""
        return {**asdict(self), "output_stats": self.output_stats.sums.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EpochMetrics":
        values = rename_former_keys(values)
        score = Score(**{name: ErrorCount(**count) for name, count in values["score"].items()})
        stats = OutputStats(np.array(values["output_stats"], np.float64))
        return cls(**{**values, "score": score, "output_stats": stats})


@dataclass
class Evaluation:
    """An evaluation that may be unfinished; it decodes the shortest utterances first."""

    metrics: EpochMetrics
    texts: list[str]  # hypotheses in the order of the split; empty until decoded
    losses: list[float]  # nats, in the same order; nan until measured, inf if it cannot be aligned
    batches: int = 0  # finished

    @classmethod
    def initial(cls, utterances: int, classes: int) -> "Evaluation":
        metrics = EpochMetrics(OutputStats.empty(classes))
        return cls(metrics, [""] * utterances, [math.nan] * utterances)

    def to_dict(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "losses": self.losses,
            "batches": self.batches,
            "metrics": self.metrics.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evaluation":
        values = rename_former_keys(values)
        metrics, texts = EpochMetrics.from_dict(values["metrics"]), values["texts"]
        losses = values.get("losses") or [math.nan] * len(texts)  # earlier programs kept none
        return cls(metrics, texts, losses, values["batches"])


def _ratio(total: int | float, count: int | float) -> float:
    return total / count if count else math.nan
