"""Padding: how much a training step changes with more padding, for each kind of BatchNorm.

In:   the corpora.   Out: the group padding: its cases and their jobs.
Not here: synthetic batches and other settings (tests/training/network/test_model.py).

Changes are relative to the largest value of their kind. With masks only float32 rounding is left.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.training.data import epoch_plan
from pipeline.training.data.batches import Batch
from pipeline.training.network.model import Network
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.corpora import BenchmarkCorpora
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.measure import Case, CaseGroup
from tests.benchmarks.training import bare_loss, prepare_trainer

EXTRA_PADDING_FRAMES = 100
MASKED, UNMASKED = ("input", "sequence"), ("input-unmasked", "sequence-unmasked")
OUTPUTS_CHANGE, GRADIENTS_CHANGE, STATISTICS_CHANGE = (
    "outputs moved",
    "gradients moved",
    "statistics moved",
)
ROUNDING_TOLERANCE = 1e-4


def padding_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    path = str(corpora.manifest(1)[0])
    yield CaseGroup(
        title=f"a step on a random batch of AN4 with {EXTRA_PADDING_FRAMES} more frames of padding",
        unit="batch",
        cases=[
            Case(kind, "padding:padding_effect", {"manifest_file": path, "batch_norm": kind})
            for kind in (*MASKED, *UNMASKED)
        ],
        targets=[
            BenchmarkTarget([kind], quantity=of, at_most=ROUNDING_TOLERANCE)
            for kind in MASKED
            for of in (OUTPUTS_CHANGE, GRADIENTS_CHANGE, STATISTICS_CHANGE)
        ],
        warm_up=False,
    )


def padding_effect(scratch: Path, *, manifest_file: str, batch_norm: str) -> BenchmarkJob:
    changes = {"model.batch_norm": batch_norm, "model.dropout": 0.0, "train.order": "random"}
    trainer = prepare_trainer(scratch, manifest_file, changes)
    split = trainer.splits.train
    batch = split.make_batch(
        epoch_plan.order_batches(split.lengths, trainer.experiment.train, epoch=1)[0]
    )

    def job(folder: Path) -> dict[str, float]:
        steps = [
            _padded_step(trainer.evaluator.network, batch, more)
            for more in (0, EXTRA_PADDING_FRAMES)
        ]
        names = (OUTPUTS_CHANGE, GRADIENTS_CHANGE, STATISTICS_CHANGE)
        return {name: _relative_change(*parts) for name, *parts in zip(names, *steps, strict=True)}

    return job


def _padded_step(network: Network, batch: Batch, more: int) -> tuple[Sequence[Tensor], ...]:
    """Return the logits of valid steps, the gradients and the running statistics."""
    network = copy.deepcopy(network).train()
    frames = nn.functional.pad(batch.frames, (0, 0, 0, more))
    with torch.no_grad():
        logits, lengths, _ = copy.deepcopy(network)(frames, batch.lengths)
    bare_loss(network, frames, batch.lengths, batch.targets, batch.target_lengths).backward()
    outputs = [logits[b, :length] for b, length in enumerate(lengths.tolist())]
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return outputs, gradients, [buffer.float() for buffer in network.buffers()]


def _relative_change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    pairs = zip(before, after, strict=True)
    return max(float((b - a).abs().max() / b.abs().max()) for b, a in pairs)
