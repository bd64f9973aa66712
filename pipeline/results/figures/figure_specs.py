"""Panels: the figures of a report, what each shows and how to read it.

In:   rows.   Out: `PANELS`, in the order of the page.
Not here: drawing (figures.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.runs.rows import Row


@dataclass(frozen=True)
class FigureSpec:
    name: str
    title: str  # the quantity and its unit
    caption: str  # what to look for
    value: Callable[[Row], float]
    # linear; log, where rates are low; capped, a little above the reference line; late, without
    # the lows of the first epochs
    scale: str = "linear"
    percent: bool = False
    train: bool = False  # also the train split, thin


FIGURE_SPECS = (
    FigureSpec(
        "loss",
        "Loss, nats per character",
        "Thick is dev, thin is training: a run on the dashed line knows nothing of the audio, its "
        "output is the same for every utterance, and crossing below it is the escape (ring).",
        lambda row: row["loss_per_character"],
        scale="capped",
        train=True,
    ),
    FigureSpec(
        "cer",
        "Dev CER",
        "Characters wrong on the dev split, spaces counted: 100 % is silence, and "
        "low rates get a logarithmic axis, where equal steps are equal factors.",
        lambda row: row["cer"],
        scale="log",
        percent=True,
    ),
    FigureSpec(
        "wer",
        "Dev WER",
        "Words wrong on the dev split: where a line has gone flat, more epochs will not help.",
        lambda row: row["wer"],
        scale="log",
        percent=True,
    ),
    FigureSpec(
        "blank",
        "Blank share of the argmax, dev",
        "Frames whose likeliest output is the blank: 100 % is the blank slate, and a healthy end "
        "lies at one minus labels per frame, not at zero.",
        lambda row: row["blank_argmax"],
        scale="late",
        percent=True,
    ),
    FigureSpec(
        "dependence",
        "Input dependence, nats, dev",
        "How much the output varies with the audio (0: not at all): "
        "it rises before any error rate moves.",
        lambda row: row["input_dependence"],
    ),
)
