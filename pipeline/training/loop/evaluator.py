"""Recogniser: a network that reads batches and writes texts.

In:   a network, an alphabet, a split.   Out: outputs, texts; the evaluation of a split.
Not here: training it (trainer.py).
"""

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.corpus.text import Alphabet
from pipeline.decoding import beam_search
from pipeline.shapes import Float
from pipeline.training.data.batches import Batch, SplitData, find_finite
from pipeline.training.data.loader import BatchLoader
from pipeline.training.loop.metrics import EpochMetrics, Evaluation
from pipeline.training.loss import ctc
from pipeline.training.network.model import Network, NetworkOutput
from pipeline.training.network.output_stats import OutputStats


@dataclass(frozen=True)
class Evaluator:
    network: Network
    alphabet: Alphabet
    device: torch.device
    precision: torch.dtype = torch.float32  # of the operations that allow it

    def run_network(self, batch: Batch) -> NetworkOutput:
        rough = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision if rough else None, enabled=rough):
            output: NetworkOutput = self.network(batch.frames, batch.lengths)
        return output

    def decode_output(self, output: NetworkOutput, beam: int | None = None) -> list[str]:
        logits = output.logits.detach()
        if beam is None:
            labels = ctc.greedy_search(logits, output.lengths)
        else:
            labels = beam_search.beam_search(logits, output.lengths, beam)
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
        """Go on with what is begun to the end of the split, `size` utterances at a time.

        `between` is called before each batch, and may raise.
        """
        self.network.eval()
        tally = evaluation.metrics
        ascending = np.argsort(split.lengths, kind="stable")
        plan = [
            split.select(ascending[n : n + batch_size]) for n in range(0, len(split), batch_size)
        ]
        asked = time.perf_counter()
        with closing(BatchLoader(split, self.device).batches(plan[evaluation.batches :])) as coming:
            for batch in coming:
                waited = time.perf_counter() - asked
                before_batch()
                started = time.perf_counter()
                self._evaluate_batch(batch, evaluation, beam)
                evaluation.batches += 1
                tally.waited += waited
                tally.seconds += waited + time.perf_counter() - started
                asked = time.perf_counter()

    def _evaluate_batch(self, batch: Batch, begun: Evaluation, beam: int | None) -> None:
        if (whole := drop_nonfinite(begun.metrics, batch)) is not None:
            found = self._score_batch(whole, begun.metrics, beam)
            for place, text in zip(whole.indices, found, strict=True):
                begun.texts[place] = text
        missed = [u.transcript for u in batch.utterances if u.id in begun.metrics.nonfinite]
        begun.metrics.add_texts(missed, [""] * len(missed))

    def _score_batch(self, batch: Batch, tally: EpochMetrics, beam: int | None) -> list[str]:
        output = self.run_network(batch)
        logs = ctc.log_probabilities(output.logits)
        losses = ctc.loss_from_log_probabilities(
            logs, output.lengths, batch.targets, batch.target_lengths
        )
        found = self.decode_output(output, beam)
        update_metrics(tally, batch, output, logs, losses=losses.tolist(), texts=found)
        return found


def drop_nonfinite(metrics: EpochMetrics, batch: Batch) -> Batch | None:
    """The batch without utterances whose input is no finite number; the tally names them.

    One of them would spread to its neighbours: through BatchNorm, and through the gradient.
    """
    if not math.isfinite(batch.max_abs):
        whole = find_finite(batch.frames)
        metrics.nonfinite += [batch.utterances[b].id for b in np.flatnonzero(~whole)]
        if not whole.any():
            return None
        batch = batch.take(np.flatnonzero(whole).tolist())
    metrics.largest_z = max(metrics.largest_z, batch.max_abs)
    return batch


def update_metrics(
    metrics: EpochMetrics,
    batch: Batch,
    output: NetworkOutput,
    logs: Float[Tensor, "B S C"],
    *,
    losses: list[float],
    texts: list[str],
) -> None:
    """Add a batch to a tally; `logs` are the logarithms of its outputs."""
    metrics.add_losses(losses, batch.target_lengths.tolist())
    metrics.add_texts([utterance.transcript for utterance in batch.utterances], texts)
    metrics.frames += sum(utterance.frames for utterance in batch.utterances)
    metrics.health += OutputStats.of(logs, output.lengths, output.clamp_counts)
