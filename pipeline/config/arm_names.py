"""Arm names: what a sweep file and a report call the runs that differ in their seed only.

In:   the label of a run, and the settings that its sweep sets.   Out: a name.
Not here: labels (sweep.py), which runs are an arm (results/comparison/arms.py).
"""

from collections.abc import Mapping
from typing import Any

SEED = "train.seed"
UNNAMED_ARM = "all runs"  # of a sweep that varies the seed only


def arm_name(label: str, settings: Mapping[str, Any]) -> str:
    """Return the name of the arm of a run: the label, or else the settings, without the seed."""
    others = settings_without_seed(settings)
    listed = (f"{key} {'null' if value is None else value}" for key, value in others.items())
    return arm_label(label, settings) or ", ".join(listed) or UNNAMED_ARM


def arm_label(label: str, settings: Mapping[str, Any]) -> str:
    """Return the label without the seed; empty if the sweep sets a seed that it does not name.

    Such labels are those of single runs.
    """
    shorter = label_without_seed(label, settings)
    return shorter if SEED not in settings or shorter != label else ""


def label_without_seed(label: str, settings: Mapping[str, Any]) -> str:
    """Return the label of a run without its part `seed 3`; `settings`: those of the sweep."""
    seed = f"seed {settings.get(SEED)}"
    return ", ".join(part for part in label.split(", ") if part != seed)


def settings_without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != SEED}
