"""Evaluator: runs the network on batches, decodes its outputs and scores a whole split.

In:   a network, an alphabet, a split.   Out: outputs, texts; the metrics of a split.
Not here: training (train_step.py), turning metrics into rows (metrics.py).
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.decoding import beam_search, greedy_search
from pipeline.decoding.scoring import Scoring
from pipeline.runs import posteriors
from pipeline.runs.hypotheses import Hypothesis, write_train_hypotheses
from pipeline.runs.posteriors import Posterior
from pipeline.shapes import Float
from pipeline.training.data.batches import Batch, Selection, SplitData, find_finite
from pipeline.training.data.loader import BatchLoader
from pipeline.training.loop import devices
from pipeline.training.loop.metrics import EpochMetrics, Evaluation
from pipeline.training.loss import ctc
from pipeline.training.network.model import Network, NetworkOutput
from pipeline.training.network.output_stats import OutputStats
from pipeline.training.optim import averaging


@dataclass(frozen=True)
class Evaluator:
    network: Network
    alphabet: Alphabet
    device: torch.device
    precision: torch.dtype = torch.float32  # for operations that autocast may run in it
    scoring: Scoring = field(default_factory=Scoring)

    @classmethod
    def of(
        cls, experiment: Experiment, network: Network, alphabet: Alphabet, device: torch.device
    ) -> "Evaluator":
        precision = devices.select_dtype(experiment.train.precision, device)
        return cls(network, alphabet, device, precision, Scoring.from_experiment(experiment))

    def run_network(self, batch: Batch) -> NetworkOutput:
        mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision if mixed else None, enabled=mixed):
            output: NetworkOutput = self.network(batch.frames, batch.lengths)
        return output

    def decode_output(self, output: NetworkOutput, beam: int | None = None) -> list[str]:
        """Return one text per utterance, by greedy search or by beam search of that width."""
        logits, lengths = output.logits.detach().float(), output.lengths.cpu().numpy()
        if beam is not None:
            logs = ctc.log_probabilities(logits).cpu().double().numpy()
            labels = beam_search.beam_search(logs, lengths, beam)
        elif logits.device.type == "cpu":  # numpy's argmax takes a third of torch's time there
            labels = greedy_search.greedy_search(logits.numpy(), lengths)
        else:
            labels = greedy_search.collapse_paths(logits.argmax(-1).cpu().numpy(), lengths)
        return [self.alphabet.decode(label) for label in labels]

    @torch.no_grad()
    def evaluate(
        self,
        split: SplitData,
        evaluation: Evaluation,
        batch_size: int,
        beam: int | None = None,
        before_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Continue the evaluation to the end of the split, updating it after each batch.

        `before_batch` is called before each batch and may raise; a later call then continues.
        """
        self.network.eval()
        metrics = evaluation.metrics
        plan = _select_by_length(split, batch_size)
        batches = BatchLoader(split, self.device).batches(plan[evaluation.batches :])
        with closing(batches):
            requested_at = time.perf_counter()
            for batch in batches:
                waited = time.perf_counter() - requested_at
                before_batch()
                started = time.perf_counter()
                self._evaluate_batch(batch, evaluation, beam)
                evaluation.batches += 1
                metrics.waited += waited
                metrics.seconds += waited + time.perf_counter() - started
                requested_at = time.perf_counter()

    def measure_batch_norm(
        self, split: SplitData, batch_size: int, before_batch: Callable[[], None]
    ) -> None:
        """Replace batch norm's statistics by their means over the batches of the split."""
        ignored = EpochMetrics(OutputStats.empty(self.alphabet.size))

        def run_finite(batch: Batch) -> None:
            before_batch()
            if (finite := drop_nonfinite(ignored, batch)) is not None:
                self.run_network(finite)

        plan = _select_by_length(split, batch_size)
        with closing(BatchLoader(split, self.device).batches(plan)) as batches:
            averaging.measure_batch_norm(self.network, batches, run_finite)

    def _evaluate_batch(self, batch: Batch, evaluation: Evaluation, beam: int | None) -> None:
        """Score the batch; an utterance whose input is not finite has an empty hypothesis."""
        metrics = evaluation.metrics
        if (finite := drop_nonfinite(metrics, batch)) is not None:
            texts, losses = self._score_batch(finite, metrics, beam)
            for index, text, loss in zip(finite.indices, texts, losses, strict=True):
                evaluation.texts[index], evaluation.losses[index] = text, loss
        dropped = [u.transcript for u in batch.utterances if u.id in metrics.nonfinite]
        metrics.add_texts(dropped, [""] * len(dropped), self.scoring)

    def _score_batch(
        self, batch: Batch, metrics: EpochMetrics, beam: int | None
    ) -> tuple[list[str], list[float]]:
        """Return the text and the loss, in nats, of each utterance."""
        output = self.run_network(batch)
        logs = ctc.log_probabilities(output.logits)
        losses = ctc.loss_from_log_probabilities(
            logs, output.lengths, batch.targets, batch.target_lengths
        ).tolist()
        texts = self.decode_output(output, beam)
        self.update_metrics(metrics, batch, output, logs, losses=losses, texts=texts)
        return texts, losses

    def update_metrics(
        self,
        metrics: EpochMetrics,
        batch: Batch,
        output: NetworkOutput,
        logs: Float[Tensor, "B S C"],
        *,
        losses: list[float],
        texts: list[str],
    ) -> None:
        """Add a batch to the metrics; `logs` are its log-probabilities, `losses` in nats."""
        metrics.add_losses(losses, batch.target_lengths.tolist())
        metrics.add_texts(
            [utterance.transcript for utterance in batch.utterances], texts, self.scoring
        )
        metrics.frames += sum(utterance.frames for utterance in batch.utterances)
        metrics.output_stats += OutputStats.of(logs, output.lengths, output.clamp_counts)

    def make_hypotheses(self, split: SplitData, evaluation: Evaluation) -> list[Hypothesis]:
        """Return one scored hypothesis per utterance of the split."""
        return [
            Hypothesis.of(
                u.id, split.name, u.transcript, text, u.speaker, loss=loss, scoring=self.scoring
            )
            for u, text, loss in zip(
                split.utterances, evaluation.texts, evaluation.losses, strict=True
            )
        ]

    def write_train_hypotheses(
        self, folder: Path, split: SplitData, evaluation: Evaluation
    ) -> None:
        write_train_hypotheses(folder, self.make_hypotheses(split, evaluation))

    @torch.no_grad()
    def write_posteriors(
        self, path: Path, split: SplitData, hypotheses: Sequence[Hypothesis]
    ) -> None:
        """Write the network's output for a few utterances of the split, whose order they have.

        An utterance whose input is not finite is left out.
        """
        self.network.eval()
        chosen = np.array(posteriors.choose_utterances(hypotheses), np.int64)
        with closing(BatchLoader(split, self.device).batches([split.select(chosen)])) as loaded:
            (batch,) = loaded
        kept = np.flatnonzero(find_finite(batch.frames)).tolist()
        found = []
        if kept:
            batch = batch.take(kept)
            output = self.run_network(batch)
            logs = ctc.log_probabilities(output.logits).cpu().numpy()
            symbols = ("", *self.alphabet.units)
            found = [
                Posterior.of(utterance.id, utterance.frames, logs[b, :steps], symbols)
                for b, (utterance, steps) in enumerate(
                    zip(batch.utterances, output.lengths.tolist(), strict=True)
                )
            ]
        posteriors.write_posteriors(path, found)


def _select_by_length(split: SplitData, batch_size: int) -> list[Selection]:
    ascending = np.argsort(split.lengths, kind="stable")
    return [split.select(ascending[n : n + batch_size]) for n in range(0, len(split), batch_size)]


def drop_nonfinite(metrics: EpochMetrics, batch: Batch) -> Batch | None:
    """Return the batch without utterances whose input has NaN or infinity; None: none is left.

    Their ids are added to the metrics. Left in, they would make the whole batch NaN through
    BatchNorm and the gradient.
    """
    if not math.isfinite(batch.max_abs):
        finite = find_finite(batch.frames)
        metrics.nonfinite += [batch.utterances[b].id for b in np.flatnonzero(~finite)]
        if not finite.any():
            return None
        batch = batch.take(np.flatnonzero(finite).tolist())
    metrics.largest_z = max(metrics.largest_z, batch.max_abs)
    return batch
