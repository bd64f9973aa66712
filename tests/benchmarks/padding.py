"""Padding: how far a step of training moves when a batch gets more of it, for each BatchNorm.

In:   the corpora.   Out: the group padding: its cases, and what they do.
Not here: invented batches, and every other setting (tests/training/test_model.py).

Changes are relative to the largest number of their kind. Masked, they are float32's rounding.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.training.data import batches
from pipeline.training.data.batches import Batch
from pipeline.training.network.model import Network
from tests.benchmarks.child import Job
from tests.benchmarks.corpora import Corpora
from tests.benchmarks.judge import Target
from tests.benchmarks.measure import Case, Group
from tests.benchmarks.training import loss, prepared

MORE = 100  # frames of padding
MASKED, CARELESS = ("input", "sequence"), ("input-unmasked", "sequence-unmasked")
OUTPUTS, GRADIENTS, STATISTICS = "outputs moved", "gradients moved", "statistics moved"
ROUNDING = 1e-4


def padding(corpora: Corpora) -> Iterator[Group]:
    path = str(corpora.manifest(1)[0])
    yield Group(
        title=f"a step on a batch of AN4 in random order, with {MORE} frames of padding more",
        unit="batch",
        cases=[
            Case(kind, "padding:moved", {"manifest_file": path, "batch_norm": kind})
            for kind in (*MASKED, *CARELESS)
        ],
        targets=[
            Target([kind], of=of, at_most=ROUNDING)
            for kind in MASKED
            for of in (OUTPUTS, GRADIENTS, STATISTICS)
        ],
        warm_up=False,
    )


def moved(scratch: Path, *, manifest_file: str, batch_norm: str) -> Job:
    changes = {"model.batch_norm": batch_norm, "model.dropout": 0.0, "train.order": "random"}
    trainer = prepared(scratch, manifest_file, changes)
    split = trainer.splits.train
    batch = split.batch(batches.order(split.lengths, trainer.experiment.train, epoch=1)[0])

    def job(folder: Path) -> dict[str, float]:
        steps = [_step(trainer.recogniser.network, batch, more) for more in (0, MORE)]
        names = (OUTPUTS, GRADIENTS, STATISTICS)
        return {name: _change(*parts) for name, *parts in zip(names, *steps, strict=True)}

    return job


def _step(network: Network, batch: Batch, more: int) -> tuple[Sequence[Tensor], ...]:
    """Logits of valid steps, gradients, running statistics."""
    network = copy.deepcopy(network).train()
    frames = nn.functional.pad(batch.frames, (0, 0, 0, more))
    with torch.no_grad():
        logits, lengths, _ = copy.deepcopy(network)(frames, batch.lengths)
    loss(network, frames, batch.lengths, batch.targets, batch.target_lengths).backward()
    outputs = [logits[b, :length] for b, length in enumerate(lengths.tolist())]
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return outputs, gradients, [buffer.float() for buffer in network.buffers()]


def _change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    pairs = zip(before, after, strict=True)
    return max(float((b - a).abs().max() / b.abs().max()) for b, a in pairs)
