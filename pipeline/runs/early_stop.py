"""Early stop: whether a run continues after an epoch, by its patience or the rules of its sweep.

In:   the rows of the run; the rules; the rows that the other runs of the sweep have written.
Out:  an `EarlyStop`, or None if the run continues.
Not here: the rules' schema (config/sweep_sections/), acting on it (jobs/node/run_training.py).

Every run decides for itself from files, so no process has to watch a sweep. A row that another
process is about to write is not seen; then fewer runs are compared. Whichever rows are seen, a run
that is the best of a rung continues.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.experiment import TrainSettings
from pipeline.config.sweep_sections.early_stop import Halving, StopRules
from pipeline.files import InputError, read_json, write_json
from pipeline.runs import plateau
from pipeline.runs.folder import RunFolder
from pipeline.runs.records import EarlyStop, Heartbeat
from pipeline.runs.rows import Row, is_from_training, rows_of_split
from pipeline.runs.state import read_early_stop

Rank = tuple[float, float]  # the lower one is the better one


@dataclass(frozen=True)
class SweepStopRules:
    """The rules of a sweep and the runs that they compare: one file of the sweep's folder."""

    sweep: str  # name
    rules: StopRules
    run_ids: tuple[str, ...]

    def write(self, path: Path) -> None:
        rules = self.rules.model_dump()
        write_json(path, {"sweep": self.sweep, "rules": rules, "run_ids": self.run_ids})

    @classmethod
    def read(cls, path: Path) -> "SweepStopRules | None":
        """Return None if the sweep has no rules; InputError if the file is damaged."""
        try:
            content = read_json(path)
            rules = StopRules.model_validate(content["rules"])
            return cls(str(content["sweep"]), rules, tuple(map(str, content["run_ids"])))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}: is damaged, or of another version; make sweep writes it again"
            ) from None

    def decide(self, run: RunFolder, rows: Sequence[Row]) -> EarlyStop | None:
        """Return why the run is stopped after its last epoch; None if it continues."""
        last = next((row for row in reversed(rows) if row["split"] == "dev"), None)
        if last is None:
            return None
        rule, message = plateau_rule(self.rules.plateau_updates, rows)
        halving = self.rules.halving
        if not message and halving and halving.is_rung(last["epoch"]):
            others = [
                row
                for run_id in dict.fromkeys(self.run_ids)
                if run_id != run.run_id
                and (row := _dev_row(RunFolder(run.path.parent / run_id), last["epoch"]))
            ]
            rate = (run.heartbeat() or Heartbeat()).rate_name
            rule, message = halving_rule(halving, last, others, rate)
        if not message:
            return None
        return EarlyStop(
            rule=rule,
            message=message,
            sweep=self.sweep,
            epoch=last["epoch"],
            updates=last["updates"],
        )


def stop_by_patience(settings: TrainSettings, rows: Sequence[Row]) -> EarlyStop | None:
    """Return why training ends by train.patience before its last epoch; None if it does not.

    Epochs count from the escape: on the blank plateau dev does not fall for hundreds of updates.
    """
    dev = [row for row in rows_of_split(rows, "dev") if is_from_training(row)]
    patience, escaped = settings.patience, plateau.escape_updates(dev)
    if patience is None or escaped is None:
        return None
    after = [row for row in dev if row["updates"] >= escaped]
    best, last = min(after, key=plateau.selection_key), after[-1]
    if last["epoch"] - best["epoch"] < patience or last["epoch"] >= settings.epochs:
        return None
    return EarlyStop(
        rule={"patience": patience},
        message=(
            f"stopped early after epoch {last['epoch']}: the dev CER has not fallen below the "
            f"{100 * best['cer']:.1f} % of epoch {best['epoch']} (train.patience: {patience})"
        ),
        sweep="",
        epoch=last["epoch"],
        updates=last["updates"],
    )


class StoppedEarly(Exception):  # noqa: N818  (not an error: the state is saved)
    """A rule of the sweep stopped the run."""

    def __init__(self, stop: EarlyStop) -> None:
        super().__init__(stop.message)
        self.stop = stop


def is_stopped_early(run: RunFolder, rules: StopRules | None) -> bool:
    """Whether a rule stopped the run before, and the rules of this sweep leave it so."""
    stop = read_early_stop(run)
    return stop is not None and not run.finished and still_applies(rules, stop)


def still_applies(rules: StopRules | None, stop: EarlyStop) -> bool:
    """Return whether the rules of a sweep leave this run stopped; a relaxed rule does not."""
    if rules is None:
        return False
    if "plateau_updates" in stop.rule:
        return rules.plateau_updates is not None and rules.plateau_updates <= stop.updates
    return rules.halving is not None and rules.halving.model_dump() == stop.rule.get("halving")


def plateau_rule(limit: int | None, rows: Sequence[Row]) -> tuple[dict[str, Any], str]:
    """Return the rule and the message if the run is on the plateau after `limit` updates."""
    last = next(row for row in reversed(rows) if row["split"] == "dev")
    if limit is None or last["updates"] < limit or not plateau.stands_on_plateau(rows):
        return {}, ""
    return {"plateau_updates": limit}, (
        f"on the blank plateau after {last['updates']} updates: dev loss "
        f"{last['loss_per_character']:.2f}, reference loss {last['reference_loss']:.2f} "
        f"(stop: plateau_updates {limit})"
    )


def halving_rule(
    halving: Halving, own: Row, others: Sequence[Row], rate: str = "CER"
) -> tuple[dict[str, Any], str]:
    """Return the rule and the message if the run is not among the best of its rung.

    `own`, `others`: dev rows of the same epoch.
    """
    better = better_runs(_rank(own, halving.metric), [_rank(row, halving.metric) for row in others])
    reached = len(others) + 1
    if better < continuing_runs(reached, halving.factor):
        return {}, ""
    return {"halving": halving.model_dump()}, (
        f"{_describe_metric(own, halving.metric, rate)} in epoch {own['epoch']}: {better} of the "
        f"{reached} runs that have reached it are better, and one in {halving.factor} continues "
        "(stop: halving)"
    )


def continuing_runs(reached: int, factor: int) -> int:
    """Return how many of the runs that have reached a rung continue; all of fewer than `factor`."""
    return reached // factor if reached >= factor else reached


def better_runs(own: Rank, others: Sequence[Rank]) -> int:
    """Return how many others are strictly better, so that equal runs continue together."""
    return sum(other < own for other in others)


def _rank(row: Row, metric: str) -> Rank:
    if metric == "dev_cer":
        cer, loss = plateau.selection_key(row)
        return cer, math.inf if math.isnan(loss) else loss
    loss = row["loss_per_character"]
    return (math.inf if math.isnan(loss) else loss), 0.0


def _describe_metric(row: Row, metric: str, rate: str) -> str:
    if metric == "dev_cer":
        return f"dev {rate} {100 * row['cer']:.1f} %"
    return f"dev loss {row['loss_per_character']:.2f}"


def _dev_row(run: RunFolder, epoch: int) -> Row | None:
    """Return None if the run has not reached the epoch, or its rows cannot be read."""
    try:
        rows = run.rows()
    except (InputError, OSError):
        return None
    found = (row for row in rows if row["split"] == "dev" and row["epoch"] == epoch)
    return next(found, None)
