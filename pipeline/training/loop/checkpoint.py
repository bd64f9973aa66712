"""Checkpoint: all that a run needs to continue from a step boundary as if it had not stopped.

In:   the network, its optimizer, the position in the epoch.   Out: bytes, and back.
Not here: files (pipeline/runs/folder.py). No random state is stored: every draw is seeded with
(seed, update).
"""

import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row
from pipeline.training.loop.metrics import EpochMetrics, Evaluation, rename_former_keys
from pipeline.training.network.output_stats import OutputStats

log = logging.getLogger(__name__)

STATE_VERSION = 4
Weights = Mapping[str, Tensor]
# The epoch, its finished batches, and the finished batches of each evaluation.
TrainingProgress = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class BestEpoch:
    """The epoch with the lowest selection key so far; the earliest one if several have it."""

    epoch: int
    updates: int
    selection_key: tuple[float, float]  # of its dev row, by runs/plateau.py
    weights: Weights = field(repr=False)


def copy_weights(network: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@dataclass
class TrainingState:
    train_metrics: EpochMetrics  # of the current epoch, on the training split
    epoch: int = 1  # the current epoch
    position: int = 0  # finished batches of the current epoch
    update: int = 0  # finished updates
    best: BestEpoch | None = None
    rows: list[Row] = field(default_factory=list)
    prior: Tensor | None = None  # (C,): the label prior of loss/regularised_loss.py
    evaluations: dict[str, Evaluation] = field(default_factory=dict)  # by split, of this epoch

    @classmethod
    def initial(cls, classes: int) -> "TrainingState":
        return cls(EpochMetrics(OutputStats.empty(classes)))

    @property
    def dev_losses(self) -> list[float]:
        return [row["loss_per_character"] for row in self.rows if row["split"] == "dev"]

    @property
    def progress(self) -> TrainingProgress:
        return self.epoch, self.position, tuple(one.batches for one in self.evaluations.values())

    def latest_row(self, split: str) -> Row | None:
        return next((row for row in reversed(self.rows) if row["split"] == split), None)

    def next_epoch(self, classes: int) -> "TrainingState":
        metrics = EpochMetrics(OutputStats.empty(classes))
        epoch = self.epoch + 1
        return replace(self, train_metrics=metrics, epoch=epoch, position=0, evaluations={})


def serialise_state(
    state: TrainingState, network: nn.Module, optimizer: torch.optim.Optimizer, scaler: GradScaler
) -> bytes:
    """Return the content of state.pt. Its keys never change without a new STATE_VERSION."""
    content = {
        "version": STATE_VERSION,
        "epoch": state.epoch,
        "position": state.position,
        "update": state.update,
        "metrics": state.train_metrics.to_dict(),
        "best": None if state.best is None else {**vars(state.best)},
        "rows": [dict(row) for row in state.rows],
        "prior": state.prior,
        "evaluations": {name: one.to_dict() for name, one in state.evaluations.items()},
        "network": network.state_dict(),
        "optimiser": optimizer.state_dict(),
        "scaler": scaler.state_dict(),  # empty except with float16
    }
    archive = io.BytesIO()
    torch.save(content, archive)
    return archive.getvalue()


def _read_archive(archive: bytes, device: torch.device) -> dict[str, Any] | None:
    """Return None where torch refuses the archive, though the checksums of its files agree.

    A changed bit in the directory of a zip archive has no checksum.
    """
    try:
        content: dict[str, Any] = torch.load(
            io.BytesIO(archive), map_location=device, weights_only=True
        )
    except (RuntimeError, pickle.UnpicklingError, LookupError, ValueError, EOFError) as error:
        log.warning("a saved state is damaged, the one before it is used: %s", error)
        return None
    return content


def load_state(
    run: RunFolder,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
    device: torch.device,
) -> TrainingState | None:
    """Load the newest undamaged state into network, optimizer and scaler; None: there is none.

    InputError where another version of the program wrote it.
    """
    content = _read_state(run, device)
    if content is None:
        return None
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimiser"])
    scaler.load_state_dict(content["scaler"])
    best = content["best"]
    evaluations = content.get("evaluations", {})  # states of earlier programs lack it
    return TrainingState(
        train_metrics=EpochMetrics.from_dict(content["metrics"]),
        epoch=content["epoch"],
        position=content["position"],
        update=content["update"],
        best=best and BestEpoch(**rename_former_keys(best)),
        rows=cast("list[Row]", content["rows"]),
        prior=content["prior"],
        evaluations={name: Evaluation.from_dict(one) for name, one in evaluations.items()},
    )


def load_best_weights(run: RunFolder, device: torch.device) -> Weights:
    """Return the weights of the best epoch on dev.

    InputError where no state can be read, or another version of the program wrote it.
    """
    content = _read_state(run, device)
    if content is None or content["best"] is None:
        raise InputError(
            f"{run.state_file}: missing or damaged; delete {run.path} to train the run again"
        )
    weights: Weights = content["best"]["weights"]
    return weights


def _read_state(run: RunFolder, device: torch.device) -> dict[str, Any] | None:
    """Return the newest undamaged state; None if there is none. InputError: another version."""
    contents = (_read_archive(archive, device) for archive in run.states())
    content = next((each for each in contents if each is not None), None)
    if content is None:
        return None
    content = rename_former_keys(content)
    if content["version"] != STATE_VERSION:
        raise InputError(
            f"{run.state_file}: has version {content['version']}, but this program reads version "
            f"{STATE_VERSION}; delete {run.path} to train the run again"
        )
    return content
