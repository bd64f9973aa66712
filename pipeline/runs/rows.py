"""Rows: the metrics of one epoch on one split, as one flat line of JSON.

In:   numbers.   Out: a line; the same numbers read back, bit for bit.
Not here: measuring them (training/loop/metrics.py), the file (folder.py). Free of torch.
"""

import json
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

# The layers that a clamp follows. All recurrent layers count as one; only relu cells have a clamp.
CLAMPED_LAYERS = ("conv1", "conv2", "fc1", "fc2", "recurrent")


class Row(TypedDict):
    """One epoch on one split. Rates are fractions, next to their counts; nan: not measured."""

    run_id: str
    epoch: int
    split: str
    updates: int  # since the start of the run
    loss_per_utterance: float  # nats
    loss_per_character: float  # nats; as torch's CTC loss with reduction="mean"
    reference_loss: float  # nats per character, of the best output that ignores the input
    cer: float
    cer_no_spaces: float
    wer: float
    ser: float
    char_errors: int
    chars: int
    word_errors: int
    words: int
    utterances: int
    infeasible: int  # utterances with fewer output steps than their transcript needs
    blank_argmax: float  # share of frames
    blank_posterior: float  # mean over frames
    empty_hypotheses: int
    input_dependence: float  # nats
    clamp_saturation: float  # share of all activations at the ceiling
    grad_norm: float
    learning_rate: float
    frames: int
    seconds: float
    frames_per_second: float
    loader_wait: float  # share of the seconds
    peak_memory_bytes: int
    emitted_chars: int
    length_ratio: float  # emitted characters / reference characters
    largest_z: float  # largest |z| of the network's input; hundreds: the input is not scaled
    update_size: float  # norm of an update / norm of the weights
    learning_rate_sum: float  # over the epoch's updates
    skipped_updates: int  # their float16 gradient overflowed
    nonfinite_utterances: int  # left out of batches: their input is NaN or infinite
    nonfinite_ids: str  # the first of them, separated by spaces
    saturation_conv1_zero: float  # share of the layer's activations at this end of the clamp
    saturation_conv1_ceiling: float
    saturation_conv2_zero: float
    saturation_conv2_ceiling: float
    saturation_fc1_zero: float
    saturation_fc1_ceiling: float
    saturation_fc2_zero: float
    saturation_fc2_ceiling: float
    saturation_recurrent_zero: float
    saturation_recurrent_ceiling: float
    suspicious_utterances: int  # of the split: silent, constant, cancelled or scaled wrongly
    weights: str  # each update; epoch: those after its last update; ema; mean of epochs 3 4 5
    length_correlation: float  # of the split's seconds and characters; nan: few or equal ones


ROW_COLUMNS = tuple(Row.__annotations__)
# Rows of earlier programs lack these columns: column -> its value there.
YOUNGER_COLUMNS: dict[str, Any] = {
    "suspicious_utterances": 0,
    "weights": "",
    "length_correlation": math.nan,
}
MEAN_OF_EPOCHS = "mean of epochs"  # the first words of `weights` where train.average made them
_FLOAT_COLUMNS = {name for name, kind in Row.__annotations__.items() if kind is float}


def encode_nonfinite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN by None and infinities by "inf" and "-inf", which JSON can hold."""
    return {
        key: (None if math.isnan(value) else str(value))
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in values.items()
    }


def decode_float(value: float | str | None) -> float:
    """Undo `encode_nonfinite` for one value."""
    return math.nan if value is None else float(value)


def rows_to_jsonl(rows: Sequence[Row]) -> str:
    """Return one line per row. ValueError where a row does not have exactly the columns."""
    for row in rows:
        if row.keys() != set(ROW_COLUMNS):
            raise ValueError(
                f"a row must have the columns of Row; it differs in {row.keys() ^ set(ROW_COLUMNS)}"
            )
    ordered = (encode_nonfinite({name: dict(row)[name] for name in ROW_COLUMNS}) for row in rows)
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in ordered)


def has_row_columns(values: Any) -> bool:
    """Whether a line of the file is a row, of this program or of an earlier one."""
    return isinstance(values, dict) and {*values, *YOUNGER_COLUMNS} == set(ROW_COLUMNS)


def row_from_json(values: Mapping[str, Any]) -> Row:
    """Return a row; a column that an earlier program did not write has its value there."""
    known = {**YOUNGER_COLUMNS, **values}
    decoded = {
        name: decode_float(known[name]) if name in _FLOAT_COLUMNS else known[name]
        for name in ROW_COLUMNS
    }
    return cast("Row", decoded)


def is_from_training(row: Row) -> bool:
    """Whether an epoch left the row, and not the final evaluation."""
    return row["split"] != "test" and not row["weights"].startswith(MEAN_OF_EPOCHS)


# Without parameters at run time: a type checker that looks at an item of each `Sequence[Row]` would
# call `__getitem__`, whose own arguments it checks again.
if TYPE_CHECKING:
    _Rows = Sequence[Row]
else:
    _Rows = Sequence


class ColumnRows(_Rows):
    """Rows held as columns, which need no loop over rows (results/summary/row_table.py)."""

    @abstractmethod
    def split(self, name: str) -> Sequence[Row]:
        """Return the rows of one split."""

    @abstractmethod
    def values(self, name: str) -> list[Any]:
        """Return the values of a column."""


def rows_of_split(rows: Sequence[Row], split: str) -> Sequence[Row]:
    if isinstance(rows, ColumnRows):
        return rows.split(split)
    return [row for row in rows if row["split"] == split]


def column_of(rows: Sequence[Row], name: str) -> list[Any]:
    """Return the values of a column."""
    if isinstance(rows, ColumnRows):
        return rows.values(name)
    return [cast("Mapping[str, Any]", row)[name] for row in rows]
