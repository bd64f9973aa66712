"""Checkpoint: all that a run needs to continue from a step boundary as if it had not stopped.

In:   the network, its optimizer, the position in the epoch.   Out: bytes, and back.
Not here: files (pipeline/runs/folder.py). No random state is stored: every draw is seeded with
(seed, update).
"""

import io
import logging
import pickle
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.origin import Origin
from pipeline.runs.rows import MEAN_OF_EPOCHS, YOUNGER_COLUMNS, Row, is_from_training
from pipeline.training.loop.metrics import EpochMetrics, Evaluation, rename_former_keys
from pipeline.training.network.output_stats import OutputStats
from pipeline.training.optim.averaging import Weights
from pipeline.training.optim.epoch_weights import EpochWeights

log = logging.getLogger(__name__)

STATE_VERSION = 4
# The epoch, its finished batches, and the finished batches of each evaluation.
TrainingProgress = tuple[int, int, tuple[int, ...]]


@dataclass
class TrainingState:
    train_metrics: EpochMetrics  # of the current epoch, on the training split
    epoch: int = 1  # the current epoch
    position: int = 0  # finished batches of the current epoch
    update: int = 0  # finished updates
    best: EpochWeights | None = None
    kept: list[EpochWeights] = field(default_factory=list)  # for train.average
    ema: Weights | None = None  # the moving average of the weights, after the first update
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
        "kept": [{**vars(each)} for each in state.kept],
        "ema": state.ema,
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
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Detected pickle protocol")  # a changed one
            content: dict[str, Any] = torch.load(
                io.BytesIO(archive), map_location=device, weights_only=True
            )
    except (
        UserWarning,
        RuntimeError,
        pickle.UnpicklingError,
        LookupError,
        ValueError,
        EOFError,
    ) as error:
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
    return _restore_state(content, network, optimizer, scaler) if content else None


def continue_shorter_run(
    origin: Origin,
    run: RunFolder,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
) -> TrainingState | None:
    """Load the last state of a run that had fewer epochs; None where it cannot be continued."""
    content = None
    if origin.can_be_continued:
        with suppress(InputError):  # another version wrote it
            content = _read_state(origin.run, next(network.parameters()).device)
    # Earlier programs did not keep the last weights of a finished run.
    if content is None or "kept" not in content:
        return None
    state = _restore_state(content, network, optimizer, scaler)
    rows = [Row(**{**row, "run_id": run.run_id}) for row in state.rows if is_from_training(row)]
    return replace(state, rows=rows, evaluations={})


def _restore_state(
    content: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
) -> TrainingState:
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimiser"])
    scaler.load_state_dict(content["scaler"])
    best = content["best"]
    rows = [{**YOUNGER_COLUMNS, **row} for row in content["rows"]]
    evaluations = content.get("evaluations", {})  # states of earlier programs lack it
    return TrainingState(
        train_metrics=EpochMetrics.from_dict(content["metrics"]),
        epoch=content["epoch"],
        position=content["position"],
        update=content["update"],
        best=best and EpochWeights(**rename_former_keys(best)),
        kept=[EpochWeights(**each) for each in content.get("kept", [])],
        ema=content.get("ema"),
        rows=cast("list[Row]", rows),
        prior=content["prior"],
        evaluations={name: Evaluation.from_dict(one) for name, one in evaluations.items()},
    )


def load_best_weights(run: RunFolder, device: torch.device) -> Weights:
    """Return the weights that a run has tested: of the best epoch on dev, or their mean.

    InputError where no state can be read, it is older than the mean, or another version of the
    program wrote it.
    """
    content = _read_state(run, device)
    if content is None or content["best"] is None:
        raise InputError(
            f"{run.state_file}: missing or damaged; delete {run.path} to train the run again"
        )
    best = EpochWeights(**rename_former_keys(content["best"]))
    if content.get("kept") and not best.label.startswith(MEAN_OF_EPOCHS):
        raise InputError(
            f"{run.state_file}: missing or damaged, and the state before it is older than the mean "
            f"of epochs that was tested; delete {run.path} to train the run again"
        )
    return best.weights


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
