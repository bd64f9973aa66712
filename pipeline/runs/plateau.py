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
from pipeline.runs.rows import CLAMPED_LAYERS, Row

ESCAPE_MARGIN = 0.1  # nats per character
MIN_INPUT_DEPENDENCE = 0.05  # nats
# Updates until escape, as reported of networks without stacked frames at low learning rates; and
# what README measured of configs/experiments/baseline.yaml: 106 to 212.
TYPICAL_ESCAPE_UPDATES = (300, 1500)
BASELINE_ESCAPE_UPDATES = (100, 250)
MAX_PLATEAU_UPDATES = 3000  # updates after which what comes before the escape is no longer a phase
# One weight's way under Adam is at most the sum of the learning rates. A logit has a bias and some
# hundred weights and must move by about 5: below this way it cannot.
MIN_LR_SUM = 0.03
# An update of Adam moves each weight by about the rate, and a layer of a hundred inputs begins with
# weights of about 0.1: above this rate each update undoes the one before.
MAX_ADAM_LR = 0.1
FALLING_LOSS_RATIO = 0.99  # of a loss that has fallen at all
NEAR_REFERENCE_MARGIN = 0.3  # nats per character above the line that count as standing on it
BELOW_REFERENCE_MARGIN = 0.03  # no constant output is below the line; less is rounding
MAX_CEILING_SHARE = 0.05  # share of a layer at the ceiling; below 0.001 where the input is scaled
MAX_CEILING_SHARE_AFTER_ESCAPE = (
    0.5  # the same of a run that has escaped: it learns in spite of less
)
MAX_ZERO_SHARE = 0.99  # share of a layer at zero
MAX_SCALED_Z = 12.0  # largest |z| of the input; 7 after a logarithm, some hundred without


def escape_updates(rows: Sequence[Row]) -> int | None:
    """Updates until the first of two evaluations running that have escaped; None: not yet."""
    dev = _rows_of_split(rows, "dev")
    for row, following in pairwise(dev):
        if _passes_escape_test(row) and _passes_escape_test(following):
            return row["updates"]
    return None


def selection_key(dev: Row) -> tuple[float, float]:
    """The epoch with the least is chosen: by CER, or, above the reference line, by loss.

    There the letters of an untrained network get some characters right, and silence gets none. By
    CER too where no utterance of dev can be aligned: then there is no line, and no loss.
    """
    above = dev["loss_per_character"] >= dev["reference_loss"]
    if not above and not math.isnan(dev["cer"]):
        return dev["cer"], 0.0
    return math.inf, dev["loss_per_character"]


def lr_sum(rows: Sequence[Row]) -> float:
    """Sum of the learning rates of all updates: how far Adam can have moved one weight at most."""
    return sum(row["learning_rate_sum"] for row in _rows_of_split(rows, "train"))


def describe_status(
    rows: Sequence[Row], experiment: Experiment | None = None, *, is_last_epoch: bool = False
) -> str:
    """Where the run stands, from its train and dev rows; and each illness that it has.

    `experiment`: what is set there is not advised. `ended`: no epoch will follow.
    """
    dev, train = _rows_of_split(rows, "dev"), _rows_of_split(rows, "train")
    if not dev:
        return "no epoch has ended yet"
    adam = experiment is None or experiment.train.optimiser != "sgd"
    stuck = adam and lr_sum(rows) < MIN_LR_SUM and not _is_falling(rows)
    high = adam and bool(train) and train[-1]["learning_rate"] > MAX_ADAM_LR
    remedy = (
        "lower train.learning_rate"
        if high
        else _plateau_remedy(experiment)
        if is_last_epoch
        else ""
    )
    where = _describe_progress(
        dev, lr_sum(rows) if stuck else None, remedy, is_last_epoch=is_last_epoch
    )
    clamp = _clamp_warnings(dev[-1], experiment, escaped=where.startswith("escaped"))
    return "; ".join([where, *clamp, *_nonfinite_warnings(train[-1] if train else dev[-1])])


def _plateau_remedy(experiment: Experiment | None) -> str:
    """Of a run that has ended on the plateau: what it lacks, else more of what moves it."""
    lacks = []
    if experiment and experiment.features.scale == "none":
        lacks.append("features.scale: log")
    if experiment and experiment.input.normalisation == "none":
        lacks.append("input.normalisation: standardise")
    more = "raise train.learning_rate (make lr-range suggests one) or train.epochs"
    return f"set {' and '.join(lacks)}, or {more}" if lacks else more


def _describe_progress(
    dev: Sequence[Row], max_weight_change: float | None, remedy: str, *, is_last_epoch: bool
) -> str:
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
    if not math.isfinite(loss) or (loss > 2 * line and loss > 1.5 * _lowest_loss(dev)):
        return f"diverging: {level}; lower the learning rate, or clip the gradient"
    escaped = escape_updates(dev)
    if escaped is not None and last["input_dependence"] <= MIN_INPUT_DEPENDENCE:
        return (
            f"fell back to the blank plateau after escaping at update {escaped}: {level}; "
            f"{errors}; lower the learning rate, or clip the gradient"
        )
    if escaped is not None:
        return f"escaped at update {escaped}: {level}; {errors}"
    if max_weight_change is not None:
        return (
            f"not learning: lr {max_weight_change / updates:.3g} can move a weight by at most {max_weight_change:.0e} in "
            f"{updates} updates; {level}"
        )
    return _describe_plateau(last, level, remedy, is_last_epoch=is_last_epoch)


def _describe_plateau(row: Row, loss_summary: str, remedy: str, *, is_last_epoch: bool) -> str:
    above, updates = row["loss_per_character"] - row["reference_loss"], row["updates"]
    late = updates > MAX_PLATEAU_UPDATES
    doctor = ", longer than usual; make doctor looks for the cause" if late else ""
    if above < -BELOW_REFERENCE_MARGIN:
        leaving = f"leaving the blank plateau: {loss_summary}"
        leaving += f"; input dependence {row['input_dependence']:.2f} nats"
        return f"ended while {leaving}; raise train.epochs" if is_last_epoch else leaving + doctor
    standing = f"{'on the way to' if above > NEAR_REFERENCE_MARGIN else 'on'} the blank plateau: {loss_summary}"
    if remedy:
        return f"{'ended ' if is_last_epoch else ''}{standing}; {remedy}"
    if above > NEAR_REFERENCE_MARGIN:
        return standing + doctor
    if late:
        return f"{standing}, longer than usual; is the input on a logarithm, and normalised?"
    return (
        f"{standing}; escape usually comes after {TYPICAL_ESCAPE_UPDATES[0]} to {TYPICAL_ESCAPE_UPDATES[1]}; nothing is wrong yet "
        f"(the baseline escapes after {BASELINE_ESCAPE_UPDATES[0]} to {BASELINE_ESCAPE_UPDATES[1]})"
    )


def _clamp_warnings(row: Row, experiment: Experiment | None, *, escaped: bool) -> Iterator[str]:
    """The layer with the largest share at an end of the clamp, where that is an illness."""
    values: dict[str, Any] = dict(row)
    ceiling, layer = _most_saturated_layer(values, "ceiling")
    if ceiling >= (MAX_CEILING_SHARE_AFTER_ESCAPE if escaped else MAX_CEILING_SHARE):
        why = "the input is not scaled"
        if row["largest_z"] < MAX_SCALED_Z:  # the weights did it
            why = "no gradient passes there; lower the learning rate"
            if not experiment or experiment.model.batch_norm == "none":
                why += ", or set model.batch_norm"
        yield f"clamp: {100 * ceiling:.0f} % of {layer} at the ceiling: {why}"
    zero, layer = _most_saturated_layer(values, "zero")
    if zero >= MAX_ZERO_SHARE:
        yield f"clamp: {100 * zero:.0f} % of {layer} at zero: it passes no gradient"


def _most_saturated_layer(values: dict[str, Any], end: str) -> tuple[float, str]:
    """(0, "") where there is no clamp: its shares are not numbers."""
    shares = [(values[f"saturation_{layer}_{end}"], layer) for layer in CLAMPED_LAYERS]
    return max((one for one in shares if one[0] > 0), default=(0.0, ""))


def _nonfinite_warnings(train: Row) -> Iterator[str]:
    if number := train["nonfinite_utterances"]:
        which = train["nonfinite_ids"].replace(" ", ", ")
        yield (
            f"left out of the epoch: {which}{', …' if which.count(',') + 1 < number else ''}: "
            f"{number} of {train['utterances'] + number} training utterances hold values that are "
            "no finite numbers"
        )


def _is_falling(rows: Sequence[Row]) -> bool:
    """Still on its way down to the line: below what the first epoch had on average."""
    last = _rows_of_split(rows, "dev")[-1]
    loss = last["loss_per_character"]
    first = min(_rows_of_split(rows, "train"), key=lambda row: row["epoch"], default=last)
    return (
        last["reference_loss"] + NEAR_REFERENCE_MARGIN
        < loss
        < FALLING_LOSS_RATIO * first["loss_per_character"]
    )


def _passes_escape_test(row: Row) -> bool:
    below = row["loss_per_character"] < row["reference_loss"] - ESCAPE_MARGIN
    return below and row["input_dependence"] > MIN_INPUT_DEPENDENCE


def _lowest_loss(dev_rows: Sequence[Row]) -> float:
    return min(row["loss_per_character"] for row in dev_rows)


def _rows_of_split(rows: Sequence[Row], split: str) -> list[Row]:
    return [row for row in rows if row["split"] == split]
