"""State: all that a run needs to go on from a step boundary as if it had never stopped.

In:   the network, its optimiser, the position in the epoch.   Out: bytes, and back.
Not here: files (run.py). No random state is stored: every draw derives from (seed, update).
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row
from pipeline.training.loop.metrics import EpochMetrics, Evaluation
from pipeline.training.network.output_stats import OutputStats

STATE_VERSION = 4
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class BestEpoch:
    """The weights with the lowest rank so far; of equals, the earliest."""

    epoch: int
    updates: int
    rank: tuple[float, float]  # escape.py says what ranks
    weights: Weights = field(repr=False)


@dataclass
class TrainingState:
    train_metrics: EpochMetrics  # of the epoch under way, on the training split
    epoch: int = 1  # under way
    position: int = 0  # of its batches, done
    update: int = 0  # done
    best: BestEpoch | None = None
    rows: list[Row] = field(default_factory=list)
    prior: Tensor | None = None  # objective.py says of what
    evaluations: dict[str, Evaluation] = field(
        default_factory=dict
    )  # splits, since the last update

    @classmethod
    def initial(cls, classes: int) -> "TrainingState":
        return cls(EpochMetrics(OutputStats.empty(classes)))

    @property
    def dev_losses(self) -> list[float]:
        return [row["loss_per_character"] for row in self.rows if row["split"] == "dev"]

    def next_epoch(self, classes: int) -> "TrainingState":
        tally = EpochMetrics(OutputStats.empty(classes))
        return replace(self, train_metrics=tally, epoch=self.epoch + 1, position=0, evaluations={})


def serialise_state(
    state: TrainingState, network: nn.Module, optimiser: torch.optim.Optimizer, scaler: GradScaler
) -> bytes:
    content = {
        "version": STATE_VERSION,
        "epoch": state.epoch,
        "position": state.position,
        "update": state.update,
        "tally": state.train_metrics.to_dict(),
        "best": None if state.best is None else {**vars(state.best)},
        "rows": [dict(row) for row in state.rows],
        "prior": state.prior,
        "heard": {name: each.to_dict() for name, each in state.evaluations.items()},
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),  # empty, but for float16
    }
    archive = io.BytesIO()
    torch.save(content, archive)
    return archive.getvalue()


def load_state(
    run: RunFolder,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: GradScaler,
    device: torch.device,
) -> TrainingState | None:
    """The newest state that is whole, with the network and the optimiser put back into it."""
    archive = next(run.states(), None)
    if archive is None:
        return None
    content = torch.load(io.BytesIO(archive), map_location=device, weights_only=True)
    if content["version"] != STATE_VERSION:
        raise InputError(
            f"{run.state_file}: has version {content['version']}, this program wants {STATE_VERSION}; "
            f"delete {run.path} to train anew"
        )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    scaler.load_state_dict(content["scaler"])
    best, heard = content["best"], content.get("heard", {})  # which earlier states lack
    return TrainingState(
        train_metrics=EpochMetrics.from_dict(content["tally"]),
        epoch=content["epoch"],
        position=content["position"],
        update=content["update"],
        best=best and BestEpoch(**best),
        rows=cast("list[Row]", content["rows"]),
        prior=content["prior"],
        evaluations={name: Evaluation.from_dict(each) for name, each in heard.items()},
    )
