"""Escape: whether a run has left the blank plateau, when, and in words where it stands.

In:   a run's rows.   Out: the update of escape; one sentence.
Not here: measuring the rows (health.py, trainer.py). Free of torch: reports import this.

CTC's first phase is to print blanks only. There the loss stands on the reference line, that of the
best constant output, and the output hardly depends on the input. A run has escaped when its dev
loss is below the line by MARGIN and its input dependence above DEPENDENCE, twice running.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.runs.rows import CLAMPED, Row

MARGIN = 0.1  # nats per character
DEPENDENCE = 0.05  # nats
# Updates until escape, as reported of networks without stacked frames at low learning rates; and
# what README measured of configs/experiments/baseline.yaml: 106 to 212.
USUAL = (300, 1500)
BASELINE = (100, 250)
PATIENCE = 3000  # updates after which what comes before the escape is no longer a phase
# One weight's way under Adam is at most the sum of the learning rates. A logit has a bias and some
# hundred weights and must move by about 5: below this way it cannot.
LEAST_REACH = 0.03
# An update of Adam moves each weight by about the rate, and a layer of a hundred inputs begins with
# weights of about 0.1: above this rate each update undoes the one before.
HIGHEST = 0.1
FALLEN = 0.99  # of a loss that has fallen at all
NEAR = 0.3  # nats per character above the line that count as standing on it
BELOW = 0.03  # no constant output is below the line; less is rounding
SATURATED = 0.05  # share of a layer at the ceiling; below 0.001 where the input is scaled
HALF = 0.5  # the same of a run that has escaped: it learns in spite of less
DEAD = 0.99  # share of a layer at zero
UNSCALED = 12.0  # largest |z| of the input; 7 after a logarithm, some hundred without


def escape_updates(rows: Sequence[Row]) -> int | None:
    """Updates until the first of two evaluations running that have escaped; None: not yet."""
    dev = _of(rows, "dev")
    for row, following in pairwise(dev):
        if _is_below(row) and _is_below(following):
            return row["updates"]
    return None


def rank(dev: Row) -> tuple[float, float]:
    """The epoch with the least is chosen: by CER, or, above the reference line, by loss.

    There the letters of an untrained network get some characters right, and silence gets none. By
    CER too where no utterance of dev can be aligned: then there is no line, and no loss.
    """
    above = dev["loss_per_character"] >= dev["reference_loss"]
    if not above and not math.isnan(dev["cer"]):
        return dev["cer"], 0.0
    return math.inf, dev["loss_per_character"]


def reach(rows: Sequence[Row]) -> float:
    """Sum of the learning rates of all updates: how far Adam can have moved one weight at most."""
    return sum(row["learning_rate_sum"] for row in _of(rows, "train"))


def sentence(
    rows: Sequence[Row], experiment: Experiment | None = None, *, ended: bool = False
) -> str:
    """Where the run stands, from its train and dev rows; and each illness that it has.

    `experiment`: what is set there is not advised. `ended`: no epoch will follow.
    """
    dev, train = _of(rows, "dev"), _of(rows, "train")
    if not dev:
        return "no epoch has ended yet"
    adam = experiment is None or experiment.train.optimiser != "sgd"
    stuck = adam and reach(rows) < LEAST_REACH and not _falls(rows)
    high = adam and bool(train) and train[-1]["learning_rate"] > HIGHEST
    remedy = "lower train.learning_rate" if high else _remedy(experiment) if ended else ""
    where = _where(dev, reach(rows) if stuck else None, remedy, ended=ended)
    clamp = _clamp(dev[-1], experiment, healthy=where.startswith("escaped"))
    return "; ".join([where, *clamp, *_nonfinite(train[-1] if train else dev[-1])])


def _remedy(experiment: Experiment | None) -> str:
    """Of a run that has ended on the plateau: what it lacks, else more of what moves it."""
    lacks = []
    if experiment and experiment.features.scale == "none":
        lacks.append("features.scale: log")
    if experiment and experiment.input.normalisation == "none":
        lacks.append("input.normalisation: standardise")
    more = "raise train.learning_rate (make lr-range suggests one) or train.epochs"
    return f"set {' and '.join(lacks)}, or {more}" if lacks else more


def _where(dev: Sequence[Row], way: float | None, remedy: str, *, ended: bool) -> str:
    """`way` is how far a weight can have moved, where that is too little."""
    last = dev[-1]
    loss, line, updates = last["loss_per_character"], last["reference_loss"], last["updates"]
    level = f"{loss:.2f} against {line:.2f} nats per character after {updates} updates"
    errors = f"CER {100 * last['cer']:.1f} %"
    if math.isnan(line):
        return (
            f"{errors} after {updates} updates, and no loss to say more: no utterance of dev can "
            "be aligned; lower input.stack or model.time_strides"
        )
    if not math.isfinite(loss) or (loss > 2 * line and loss > 1.5 * _least(dev)):
        return f"diverging: {level}; lower the learning rate, or clip the gradient"
    escaped = escape_updates(dev)
    if escaped is not None and last["input_dependence"] <= DEPENDENCE:
        return (
            f"fell back to the blank plateau after escaping at update {escaped}: {level}; "
            f"{errors}; lower the learning rate, or clip the gradient"
        )
    if escaped is not None:
        return f"escaped at update {escaped}: {level}; {errors}"
    if way is not None:
        return (
            f"not learning: lr {way / updates:.3g} can move a weight by at most {way:.0e} in "
            f"{updates} updates; {level}"
        )
    return _before_escape(last, level, remedy, ended=ended)


def _before_escape(last: Row, level: str, remedy: str, *, ended: bool) -> str:
    above, updates = last["loss_per_character"] - last["reference_loss"], last["updates"]
    late = updates > PATIENCE
    doctor = ", longer than usual; make doctor looks for the cause" if late else ""
    if above < -BELOW:
        leaving = f"leaving the blank plateau: {level}"
        leaving += f"; input dependence {last['input_dependence']:.2f} nats"
        return f"ended while {leaving}; raise train.epochs" if ended else leaving + doctor
    standing = f"{'on the way to' if above > NEAR else 'on'} the blank plateau: {level}"
    if remedy:
        return f"{'ended ' if ended else ''}{standing}; {remedy}"
    if above > NEAR:
        return standing + doctor
    if late:
        return f"{standing}, longer than usual; is the input on a logarithm, and normalised?"
    return (
        f"{standing}; escape usually comes after {USUAL[0]} to {USUAL[1]}; nothing is wrong yet "
        f"(the baseline escapes after {BASELINE[0]} to {BASELINE[1]})"
    )


def _clamp(row: Row, experiment: Experiment | None, *, healthy: bool) -> Iterator[str]:
    """The layer with the largest share at an end of the clamp, where that is an illness."""
    values: dict[str, Any] = dict(row)
    ceiling, layer = _worst(values, "ceiling")
    if ceiling >= (HALF if healthy else SATURATED):
        why = "the input is not scaled"
        if row["largest_z"] < UNSCALED:  # the weights did it
            why = "no gradient passes there; lower the learning rate"
            if not experiment or experiment.model.batch_norm == "none":
                why += ", or set model.batch_norm"
        yield f"clamp: {100 * ceiling:.0f} % of {layer} at the ceiling: {why}"
    zero, layer = _worst(values, "zero")
    if zero >= DEAD:
        yield f"clamp: {100 * zero:.0f} % of {layer} at zero: it passes no gradient"


def _worst(values: dict[str, Any], end: str) -> tuple[float, str]:
    """(0, "") where there is no clamp: its shares are not numbers."""
    shares = [(values[f"saturation_{layer}_{end}"], layer) for layer in CLAMPED]
    return max((one for one in shares if one[0] > 0), default=(0.0, ""))


def _nonfinite(train: Row) -> Iterator[str]:
    if number := train["nonfinite_utterances"]:
        which = train["nonfinite_ids"].replace(" ", ", ")
        yield (
            f"left out of the epoch: {which}{', …' if which.count(',') + 1 < number else ''}: "
            f"{number} of {train['utterances'] + number} training utterances hold values that are "
            "no finite numbers"
        )


def _falls(rows: Sequence[Row]) -> bool:
    """Still on its way down to the line: below what the first epoch had on average."""
    last = _of(rows, "dev")[-1]
    loss = last["loss_per_character"]
    first = min(_of(rows, "train"), key=lambda row: row["epoch"], default=last)
    return last["reference_loss"] + NEAR < loss < FALLEN * first["loss_per_character"]


def _is_below(row: Row) -> bool:
    below = row["loss_per_character"] < row["reference_loss"] - MARGIN
    return below and row["input_dependence"] > DEPENDENCE


def _least(dev: Sequence[Row]) -> float:
    return min(row["loss_per_character"] for row in dev)


def _of(rows: Sequence[Row], split: str) -> list[Row]:
    return [row for row in rows if row["split"] == split]
