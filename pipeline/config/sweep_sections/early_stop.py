"""Early stopping: the rules by which a sweep stops runs that are not worth more time.

In:   the section `stop` of a sweep file.   Out: frozen models.
Not here: applying them to rows (runs/early_stop.py).

The rules are not part of a run's identity.
"""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.loader import Settings


class Halving(Settings):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934), in its stopping form.

    A run that reaches a rung continues if it is among the best 1/factor of the runs of the sweep
    that have reached this rung so far, or if fewer than `factor` runs have.
    """

    first_epoch: int = Field(
        ge=1,
        description="epoch of the first rung; each further rung is at `factor` times the epoch of "
        "the one before [epochs]",
    )
    factor: int = Field(
        default=3, ge=2, description="at each rung one run in so many continues [runs]"
    )
    metric: Literal["dev_cer", "dev_loss"] = Field(
        default="dev_cer",
        description="what runs are compared by; dev_cer: runs at or above the reference loss come "
        "last, in the order of their loss",
    )

    def is_rung(self, epoch: int) -> bool:
        rung = self.first_epoch
        while rung < epoch:
            rung *= self.factor
        return rung == epoch


class StopRules(Settings):
    """When a run is stopped early. It is not resumed until the rule is changed or removed."""

    plateau_updates: int | None = Field(
        default=None,
        ge=1,
        description="a run that is still on the blank plateau after so many updates is stopped; "
        "null: none is [updates]",
    )
    halving: Halving | None = Field(default=None, description="successive halving; null: none")

    @model_validator(mode="after")
    def _require_a_rule(self) -> "StopRules":
        if self.plateau_updates is None and self.halving is None:
            raise ValueError("set plateau_updates or halving, or remove stop")
        return self
