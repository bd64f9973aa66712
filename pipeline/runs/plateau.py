"""The blank plateau: whether a run has left it, when, and one sentence on how the run is doing.

In:   a run's rows.   Out: the update of escape; the key that selects an epoch; the sentence.
Not here: measuring the rows (training/loop/metrics.py). Free of torch, because reports import it.

A network trained with CTC first learns to print only blanks. In this phase the loss is at the
reference loss, that of the best output that ignores the input, and the output hardly depends on
the input. A run has escaped when in two evaluations in a row its dev loss is below the reference
loss by ESCAPE_MARGIN and its input dependence is above MIN_INPUT_DEPENDENCE.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.runs.rows import CLAMPED_LAYERS, Row

ESCAPE_MARGIN = 0.1  # nats per character
MIN_INPUT_DEPENDENCE = 0.05  # nats
# Updates until escape: as published for networks without stacked frames at low learning rates, and
# as measured with configs/experiments/baseline.yaml (106 to 212).
TYPICAL_ESCAPE_UPDATES = (300, 1500)
BASELINE_ESCAPE_UPDATES = (100, 250)
MAX_PLATEAU_UPDATES = 3000  # a plateau that lasts longer is not just a phase
# Adam moves one weight by at most the sum of the learning rates. A logit has a bias and about a
# hundred weights and must move by about 5, which a smaller sum does not allow.
MIN_LR_SUM = 0.03
# An update of Adam moves each weight by about the learning rate, and a layer with a hundred inputs
# starts with weights of about 0.1: at a higher rate each update undoes the one before.
MAX_ADAM_LR = 0.1
FALLING_LOSS_RATIO = 0.99  # a loss below this share of the first one is falling
NEAR_REFERENCE_MARGIN = 0.3  # nats per character above the reference loss that count as near it
BELOW_REFERENCE_MARGIN = 0.03  # nats per character below it that cannot be rounding
MAX_CEILING_SHARE = 0.05  # share of a layer at the ceiling; below 0.001 if the input is scaled
MAX_CEILING_SHARE_AFTER_ESCAPE = 0.5  # a run that has escaped can learn with a larger share
MAX_ZERO_SHARE = 0.99  # share of a layer at zero
MAX_SCALED_Z = 12.0  # largest |z| of a scaled input; 7 is usual on a log scale, hundreds without

_LESS_CHANGE_ADVICE = "lower train.learning_rate or set train.clip"


def escape_updates(rows: Sequence[Row]) -> int | None:
    """Return the updates until the first of two dev evaluations in a row that pass, or None."""
    for row, following in pairwise(_rows_of_split(rows, "dev")):
        if _passes_escape_test(row) and _passes_escape_test(following):
            return row["updates"]
    return None


def stands_on_plateau(rows: Sequence[Row]) -> bool:
    """Whether the run has not escaped, and its last dev loss is not below the reference loss.

    False where no dev utterance can be aligned, because then there is no reference loss.
    """
    last = _rows_of_split(rows, "dev")[-1]
    loss, reference = last["loss_per_character"], last["reference_loss"]
    if math.isnan(reference) or escape_updates(rows) is not None:
        return False
    return not loss < reference - BELOW_REFERENCE_MARGIN


def selection_key(dev: Row) -> tuple[float, float]:
    """Return the key of an epoch's dev row; the epoch with the lowest key is selected.

    Epochs at or above the reference loss are compared by loss and come after all others, which are
    compared by CER: an untrained network gets some characters right by chance, and one that prints
    only blanks gets none. If no dev utterance can be aligned, both losses are NaN and CER decides.
    """
    above = dev["loss_per_character"] >= dev["reference_loss"]
    if not above and not math.isnan(dev["cer"]):
        return dev["cer"], 0.0
    return math.inf, dev["loss_per_character"]


def lr_sum(rows: Sequence[Row]) -> float:
    """Return the sum of the learning rates of all updates: Adam moves no weight further."""
    return sum(row["learning_rate_sum"] for row in _rows_of_split(rows, "train"))


def describe_status(
    rows: Sequence[Row], experiment: Experiment | None = None, *, is_last_epoch: bool = False
) -> str:
    """Return how the run is doing, from its train and dev rows, with each problem that they show.

    Settings that `experiment` already has are not recommended.
    """
    dev, train = _rows_of_split(rows, "dev"), _rows_of_split(rows, "train")
    if not dev:
        return "no epoch has ended yet"
    adam = experiment is None or experiment.train.optimiser != "sgd"
    remedy = ""
    if adam and train and train[-1]["learning_rate"] > MAX_ADAM_LR:
        remedy = "lower train.learning_rate"
    elif is_last_epoch:
        remedy = _plateau_remedy(experiment)
    stuck = adam and lr_sum(rows) < MIN_LR_SUM and not _is_falling(rows)
    max_weight_change = lr_sum(rows) if stuck else None
    progress = _describe_progress(dev, max_weight_change, remedy, is_last_epoch=is_last_epoch)
    clamp = _clamp_warnings(dev[-1], experiment, escaped=progress.startswith("escaped"))
    return "; ".join([progress, *clamp, *_nonfinite_warnings(train[-1] if train else dev[-1])])


def _plateau_remedy(experiment: Experiment | None) -> str:
    """Return what to change in a run that has ended on the plateau."""
    missing = []
    if experiment and experiment.features.scale == "none":
        missing.append("features.scale: log")
    if experiment and experiment.input.normalisation == "none":
        missing.append("input.normalisation: standardise")
    more = "raise train.learning_rate (make lr-range suggests one) or train.epochs"
    return f"set {' and '.join(missing)}, or {more}" if missing else more


def _describe_progress(
    dev: Sequence[Row], max_weight_change: float | None, remedy: str, *, is_last_epoch: bool
) -> str:
    """`max_weight_change`: how far a weight can have moved; None where that is far enough."""
    last = dev[-1]
    loss, reference, updates = last["loss_per_character"], last["reference_loss"], last["updates"]
    summary = f"dev loss {loss:.2f} (reference loss {reference:.2f}) after {updates} updates"
    errors = f"CER {100 * last['cer']:.1f} %"
    if math.isnan(reference):
        return (
            f"{errors} after {updates} updates; there is no dev loss because no dev utterance can "
            "be aligned: lower input.stack or model.time_strides"
        )
    lowest = min(row["loss_per_character"] for row in dev)
    if not math.isfinite(loss) or (loss > 2 * reference and loss > 1.5 * lowest):
        return f"diverging: {summary}; {_LESS_CHANGE_ADVICE}"
    escaped = escape_updates(dev)
    if escaped is not None and last["input_dependence"] <= MIN_INPUT_DEPENDENCE:
        return (
            f"fell back to the blank plateau after escaping at update {escaped}: {summary}; "
            f"{errors}; {_LESS_CHANGE_ADVICE}"
        )
    if escaped is not None:
        return f"escaped at update {escaped}: {summary}; {errors}"
    if max_weight_change is not None:
        return (
            f"not learning: learning rate {max_weight_change / updates:.3g} can move a weight by "
            f"at most {max_weight_change:.0e} in {updates} updates; {summary}"
        )
    return _describe_plateau(last, summary, remedy, is_last_epoch=is_last_epoch)


def _describe_plateau(row: Row, loss_summary: str, remedy: str, *, is_last_epoch: bool) -> str:
    above, updates = row["loss_per_character"] - row["reference_loss"], row["updates"]
    late = updates > MAX_PLATEAU_UPDATES
    advice = "; this takes longer than usual, run make doctor to find the cause" if late else ""
    if above < -BELOW_REFERENCE_MARGIN:
        leaving = f"leaving the blank plateau: {loss_summary}"
        leaving += f"; input dependence {row['input_dependence']:.2f} nats"
        return f"ended while {leaving}; raise train.epochs" if is_last_epoch else leaving + advice
    where = "on the way to" if above > NEAR_REFERENCE_MARGIN else "on"
    plateau = f"{where} the blank plateau: {loss_summary}"
    if remedy:
        return f"{'ended ' if is_last_epoch else ''}{plateau}; {remedy}"
    if above > NEAR_REFERENCE_MARGIN:
        return plateau + advice
    if late:
        return (
            f"{plateau}; this takes longer than usual, check that the input is on a log scale and "
            "normalised"
        )
    first, last = TYPICAL_ESCAPE_UPDATES
    first_baseline, last_baseline = BASELINE_ESCAPE_UPDATES
    return (
        f"{plateau}; nothing is wrong yet: runs usually escape after {first} to {last} updates "
        f"(the baseline after {first_baseline} to {last_baseline})"
    )


def _clamp_warnings(row: Row, experiment: Experiment | None, *, escaped: bool) -> Iterator[str]:
    """Yield the layer with the largest share at each end of the clamp, where that is a problem."""
    values: dict[str, Any] = dict(row)
    ceiling, layer = _most_saturated_layer(values, "ceiling")
    if ceiling >= (MAX_CEILING_SHARE_AFTER_ESCAPE if escaped else MAX_CEILING_SHARE):
        why = "the input is not scaled"
        if row["largest_z"] < MAX_SCALED_Z:  # so the cause is the weights
            why = "no gradient passes there; lower train.learning_rate"
            if not experiment or experiment.model.batch_norm == "none":
                why += ", or set model.batch_norm"
        yield f"clamp: {100 * ceiling:.0f} % of {layer} at the ceiling: {why}"
    zero, layer = _most_saturated_layer(values, "zero")
    if zero >= MAX_ZERO_SHARE:
        yield f"clamp: {100 * zero:.0f} % of {layer} at zero: no gradient passes there"


def _most_saturated_layer(values: dict[str, Any], end: str) -> tuple[float, str]:
    """Return share and layer; (0, "") where there is no clamp, because its shares are NaN."""
    shares = [(values[f"saturation_{layer}_{end}"], layer) for layer in CLAMPED_LAYERS]
    return max((one for one in shares if one[0] > 0), default=(0.0, ""))


def _nonfinite_warnings(train: Row) -> Iterator[str]:
    if count := train["nonfinite_utterances"]:
        ids = train["nonfinite_ids"].split()
        named = ", ".join([*ids, "…"] if len(ids) < count else ids)
        yield (
            f"left out of the epoch: {count} of {train['utterances'] + count} training utterances "
            f"have NaN or infinity in their input ({named})"
        )


def _is_falling(rows: Sequence[Row]) -> bool:
    """Whether the dev loss is well above the reference loss, but below the first train loss."""
    last = _rows_of_split(rows, "dev")[-1]
    loss = last["loss_per_character"]
    first = next(iter(_rows_of_split(rows, "train")), last)
    near = last["reference_loss"] + NEAR_REFERENCE_MARGIN
    return near < loss < FALLING_LOSS_RATIO * first["loss_per_character"]


def _passes_escape_test(row: Row) -> bool:
    below = row["loss_per_character"] < row["reference_loss"] - ESCAPE_MARGIN
    return below and row["input_dependence"] > MIN_INPUT_DEPENDENCE


def _rows_of_split(rows: Sequence[Row], split: str) -> list[Row]:
    return [row for row in rows if row["split"] == split]
