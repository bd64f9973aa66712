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
from pipeline.training.data.batches import Batch, Split, finite
from pipeline.training.data.loader import Feed
from pipeline.training.loop.metrics import Evaluation, Tally
from pipeline.training.loss import ctc
from pipeline.training.network.model import Network, Output
from pipeline.training.network.output_stats import Health


@dataclass(frozen=True)
class Recogniser:
    network: Network
    letters: Alphabet
    device: torch.device
    precision: torch.dtype = torch.float32  # of the operations that allow it

    def output(self, batch: Batch) -> Output:
        rough = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision if rough else None, enabled=rough):
            output: Output = self.network(batch.frames, batch.lengths)
        return output

    def texts(self, output: Output, beam: int | None = None) -> list[str]:
        logits = output.logits.detach()
        if beam is None:
            labels = ctc.greedy(logits, output.lengths)
        else:
            labels = beam_search.beam_search(logits, output.lengths, beam)
        return [self.letters.decode(label) for label in labels]

    @torch.no_grad()
    def evaluate(
        self,
        split: Split,
        begun: Evaluation,
        size: int,
        beam: int | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on with what is begun to the end of the split, `size` utterances at a time.

        `between` is called before each batch, and may raise.
        """
        self.network.eval()
        tally = begun.tally
        ascending = np.argsort(split.lengths, kind="stable")
        plan = [split.select(ascending[n : n + size]) for n in range(0, len(split), size)]
        asked = time.perf_counter()
        with closing(Feed(split, self.device).batches(plan[begun.batches :])) as coming:
            for batch in coming:
                waited = time.perf_counter() - asked
                between()
                started = time.perf_counter()
                self._hear(batch, begun, beam)
                begun.batches += 1
                tally.waited += waited
                tally.seconds += waited + time.perf_counter() - started
                asked = time.perf_counter()

    def _hear(self, batch: Batch, begun: Evaluation, beam: int | None) -> None:
        if (whole := finite_part(begun.tally, batch)) is not None:
            found = self._read(whole, begun.tally, beam)
            for place, text in zip(whole.places, found, strict=True):
                begun.texts[place] = text
        missed = [u.transcript for u in batch.utterances if u.id in begun.tally.nonfinite]
        begun.tally.add_texts(missed, [""] * len(missed))

    def _read(self, batch: Batch, tally: Tally, beam: int | None) -> list[str]:
        output = self.output(batch)
        logs = ctc.log_probabilities(output.logits)
        losses = ctc.of_log_probabilities(logs, output.lengths, batch.targets, batch.target_lengths)
        found = self.texts(output, beam)
        count(tally, batch, output, logs, losses=losses.tolist(), texts=found)
        return found


def finite_part(tally: Tally, batch: Batch) -> Batch | None:
    """The batch without utterances whose input is no finite number; the tally names them.

    One of them would spread to its neighbours: through BatchNorm, and through the gradient.
    """
    if not math.isfinite(batch.largest):
        whole = finite(batch.frames)
        tally.nonfinite += [batch.utterances[b].id for b in np.flatnonzero(~whole)]
        if not whole.any():
            return None
        batch = batch.choose(np.flatnonzero(whole).tolist())
    tally.largest_z = max(tally.largest_z, batch.largest)
    return batch


def count(
    tally: Tally,
    batch: Batch,
    output: Output,
    logs: Float[Tensor, "B S C"],
    *,
    losses: list[float],
    texts: list[str],
) -> None:
    """Add a batch to a tally; `logs` are the logarithms of its outputs."""
    tally.add_losses(losses, batch.target_lengths.tolist())
    tally.add_texts([utterance.transcript for utterance in batch.utterances], texts)
    tally.frames += sum(utterance.frames for utterance in batch.utterances)
    tally.health += Health.of(logs, output.lengths, output.activations)
