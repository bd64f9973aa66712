"""Figure specs: which figures a report has, what each shows and how to read it.

In:   the units of the runs.   Out: `FIGURE_SPECS`, in the order of the page.
Not here: drawing (learning_curves.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

# linear: from 0. log: logarithmic where rates are low. capped: up to a little above the reference
# loss. late: the range of the second half of each run, because the first epochs are far lower.
Scale = Literal["linear", "log", "capped", "late"]


@dataclass(frozen=True)
class FigureSpec:
    name: str
    title: str  # the quantity and its unit
    caption: str  # how to read the figure
    column: str  # of a row
    scale: Scale = "linear"
    percent: bool = False
    train: bool = False  # also draw the train split, as a thin line


FIGURE_SPECS = (
    FigureSpec(
        "loss",
        "Loss, nats per character",
        "Thick lines are dev, thin lines are train. A line is the mean of an arm's runs, of the "
        "finished ones once there are any; its band goes from the lowest to the highest run. The "
        "dashed line is the reference loss of dev, the dotted line that of train: the loss of the "
        "best output that ignores the audio. A run at this loss has learnt nothing from the audio "
        "yet. Rings mark escapes from the blank plateau.",
        "loss_per_character",
        scale="capped",
        train=True,
    ),
    FigureSpec(
        "cer",
        "Dev CER",
        "Character errors on the dev split, spaces counted. An empty output has 100 %. Low rates "
        "have a logarithmic axis, where equal distances are equal factors.",
        "cer",
        scale="log",
        percent=True,
    ),
    FigureSpec(
        "wer",
        "Dev WER",
        "Word errors on the dev split. At the end of a run the learning rate is usually low, so a "
        "flat end does not show that more epochs would not help.",
        "wer",
        scale="log",
        percent=True,
    ),
    FigureSpec(
        "blank",
        "Blank share of the argmax, dev",
        "Share of frames whose most probable output is the blank. 100 % is the blank plateau. A "
        "trained run ends near one minus the number of labels per frame, not near zero.",
        "blank_argmax",
        scale="late",
        percent=True,
    ),
    FigureSpec(
        "dependence",
        "Input dependence, nats, dev",
        "How much the output varies with the audio; 0 means not at all. It rises before any "
        "error rate falls.",
        "input_dependence",
    ),
)


def specs_of_units(unit: str, rate: str) -> Iterator[FigureSpec]:
    """Yield the specs with the words of a unit (character, phoneme) and of its error rate."""
    for spec in FIGURE_SPECS:
        title = spec.title.replace("character", unit).replace("CER", rate)
        caption = spec.caption
        if unit != "character":
            caption = caption.replace("Character", unit.capitalize()).replace(
                ", spaces counted", ""
            )
        yield replace(spec, title=title, caption=caption)
