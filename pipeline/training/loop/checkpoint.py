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
from pipeline.training.loop.metrics import Evaluation, Tally
from pipeline.training.network.output_stats import Health

VERSION = 4
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Best:
    """The weights with the lowest rank so far; of equals, the earliest."""

    epoch: int
    updates: int
    rank: tuple[float, float]  # escape.py says what ranks
    weights: Weights = field(repr=False)


@dataclass
class State:
    tally: Tally  # of the epoch under way, on the training split
    epoch: int = 1  # under way
    position: int = 0  # of its batches, done
    update: int = 0  # done
    best: Best | None = None
    rows: list[Row] = field(default_factory=list)
    prior: Tensor | None = None  # objective.py says of what
    heard: dict[str, Evaluation] = field(default_factory=dict)  # splits, since the last update

    @classmethod
    def start(cls, classes: int) -> "State":
        return cls(Tally(Health.empty(classes)))

    @property
    def dev_losses(self) -> list[float]:
        return [row["loss_per_character"] for row in self.rows if row["split"] == "dev"]

    def next_epoch(self, classes: int) -> "State":
        tally = Tally(Health.empty(classes))
        return replace(self, tally=tally, epoch=self.epoch + 1, position=0, heard={})


def packed(
    state: State, network: nn.Module, optimiser: torch.optim.Optimizer, scaler: GradScaler
) -> bytes:
    content = {
        "version": VERSION,
        "epoch": state.epoch,
        "position": state.position,
        "update": state.update,
        "tally": state.tally.plain(),
        "best": None if state.best is None else {**vars(state.best)},
        "rows": [dict(row) for row in state.rows],
        "prior": state.prior,
        "heard": {name: each.plain() for name, each in state.heard.items()},
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),  # empty, but for float16
    }
    archive = io.BytesIO()
    torch.save(content, archive)
    return archive.getvalue()


def restored(
    run: RunFolder,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: GradScaler,
    device: torch.device,
) -> State | None:
    """The newest state that is whole, with the network and the optimiser put back into it."""
    archive = next(run.states(), None)
    if archive is None:
        return None
    content = torch.load(io.BytesIO(archive), map_location=device, weights_only=True)
    if content["version"] != VERSION:
        raise InputError(
            f"{run.state_file}: has version {content['version']}, this program wants {VERSION}; "
            f"delete {run.path} to train anew"
        )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    scaler.load_state_dict(content["scaler"])
    best, heard = content["best"], content.get("heard", {})  # which earlier states lack
    return State(
        tally=Tally.of_plain(content["tally"]),
        epoch=content["epoch"],
        position=content["position"],
        update=content["update"],
        best=best and Best(**best),
        rows=cast("list[Row]", content["rows"]),
        prior=content["prior"],
        heard={name: Evaluation.of_plain(each) for name, each in heard.items()},
    )
