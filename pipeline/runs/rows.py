"""Row: one epoch of one split, flat, as a line of JSON.

In:   numbers.   Out: a line; the same numbers again, to the last bit.
Not here: measuring them (tally.py), the file they stand in (run.py). Free of torch.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

# What a clamp stands behind; all recurrent layers together, and only where their cell has a clamp.
CLAMPED_LAYERS = ("conv1", "conv2", "fc1", "fc2", "recurrent")


class Row(TypedDict):
    """One epoch of one split. Rates are fractions beside their counts; nan: not measured."""

    run_id: str
    epoch: int
    split: str
    updates: int  # since the beginning
    loss_per_utterance: float  # nats
    loss_per_character: float  # nats; PyTorch's 'mean'
    reference_loss: float  # per character, of the best constant output
    cer: float
    cer_no_spaces: float
    wer: float
    ser: float
    char_errors: int
    chars: int
    word_errors: int
    words: int
    utterances: int
    infeasible: int  # utterances left out
    blank_argmax: float  # share of frames
    blank_posterior: float
    empty_hypotheses: int
    input_dependence: float  # nats
    clamp_saturation: float  # share of all activations at the ceiling; by layer further down
    grad_norm: float
    learning_rate: float
    frames: int
    seconds: float
    frames_per_second: float
    loader_wait: float  # share of the time
    peak_memory_bytes: int
    emitted_chars: int
    length_ratio: float  # characters emitted / characters said
    largest_z: float  # of the network's input; nothing is scaled at |z| of hundreds
    update_size: float  # length of an update / length of the weights
    learning_rate_sum: float  # over the epoch's updates
    skipped_updates: int  # their float16 gradient overflowed, and moved nothing
    nonfinite_utterances: int  # left out of batches: their input is no finite number
    nonfinite_ids: str  # the first of them
    saturation_conv1_zero: float  # share of a layer's activations at an end of the clamp
    saturation_conv1_ceiling: float
    saturation_conv2_zero: float
    saturation_conv2_ceiling: float
    saturation_fc1_zero: float
    saturation_fc1_ceiling: float
    saturation_fc2_zero: float
    saturation_fc2_ceiling: float
    saturation_recurrent_zero: float
    saturation_recurrent_ceiling: float


ROW_COLUMNS = tuple(Row.__annotations__)
_FLOAT_COLUMNS = {name for name, kind in Row.__annotations__.items() if kind is float}


def encode_nonfinite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no nan and no infinity: null and the words "inf", "-inf" stand for them."""
    return {
        key: (None if math.isnan(value) else str(value))
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in values.items()
    }


def decode_float(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def rows_to_jsonl(rows: Sequence[Row]) -> str:
    for row in rows:
        if row.keys() != set(ROW_COLUMNS):
            raise ValueError(f"a row differs from its columns in {row.keys() ^ set(ROW_COLUMNS)}")
    ordered = (encode_nonfinite({name: dict(row)[name] for name in ROW_COLUMNS}) for row in rows)
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in ordered)


def row_from_json(values: Mapping[str, Any]) -> Row:
    return cast(
        "Row", {n: decode_float(v) if n in _FLOAT_COLUMNS else v for n, v in values.items()}
    )
