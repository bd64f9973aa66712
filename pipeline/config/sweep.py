"""Sweeps: one base and axes -> many experiments, in the written order.

In:   a sweep file.   Out: `Sweep`, with a label and the swept settings of each experiment.
Not here: which of them still have to run (jobs/plan.py).
"""

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import Settings, read_yaml, validate_settings
from pipeline.files import InputError

Changes = dict[str, Any]  # dotted key -> value


class SamplingRange(Settings):
    """Where a random draw comes from: uniform, or uniform in the logarithm."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check_bounds(self) -> "SamplingRange":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"low {self.low:g} and high {self.high:g} must ascend, from above 0 if log"
            )
        return self


class RandomSearch(Settings):
    """`draws` experiments, each key drawn independently; the same seed gives the same draws."""

    draws: int = Field(ge=1, le=100_000)
    seed: int = 0
    settings: dict[str, SamplingRange | Annotated[list[Any], Field(min_length=1)]]


class SweepFile(Settings):
    """The grid of `axes`, the `random` draws and the `list`, each combined with the others.

    An entry of `list` may carry its own `label`, to which the values of axes and draws are added,
    and its own `base`. What is `fixed` holds for all experiments, under their swept settings, and
    is no column of a table.
    """

    base: str
    fixed: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    random: RandomSearch | None = None
    list: tuple[Changes, ...] = ()
    exclude: tuple[Changes, ...] = ()


@dataclass(frozen=True)
class SweptExperiment:
    label: str  # what differs from its neighbours: "mel, whiten, seed 0"
    settings: Changes  # swept dotted keys -> values
    experiment: Experiment


@dataclass(frozen=True)
class Sweep:
    name: str
    question: str  # the comment that opens the file
    path: Path
    experiments: tuple[SweptExperiment, ...]
    sources: tuple[Path, ...] = ()  # every file that was read for it
    changes: Changes = field(default_factory=dict)  # of SET

    @property
    def cost(self) -> str:
        """What the opening comment says after `Cost:`, up to the next such word."""
        found = re.search(r"^Cost:(.*(?:\n(?!\w+:).*)*)", self.question, re.MULTILINE)
        return " ".join(found[1].split()) if found else ""


def single_run_sweep(path: Path, experiment: Experiment, verb: str) -> Sweep:
    """A sweep of one experiment, named by what is done with it."""
    return Sweep(f"{verb}-{path.stem}", "", path, (SweptExperiment(path.stem, {}, experiment),))


def load_sweep(path: Path, changes: Mapping[str, Any] | None = None) -> Sweep:
    """Read a sweep file; `changes` are applied to every experiment, under the swept settings."""
    contents: dict[Path, dict[str, Any]] = {}

    def read(source: Path) -> dict[str, Any]:  # once: a thousand experiments have one base
        if source not in contents:
            contents[source] = read_yaml(source)
        return contents[source]

    file = validate_settings(SweepFile, read(path), path)
    swept = list(_combinations(file))
    if not swept:
        raise InputError(
            f"{path}: no experiment is left; widen axes, random or list, or narrow exclude"
        )
    keys = list(dict.fromkeys(key for settings in swept for key in settings))
    if both := sorted(set(keys) & set(changes or {})):
        raise InputError(
            f"SET {both[0]}: {path} varies it; change it there, or leave it out of SET"
        )
    experiments = []
    for settings in swept:
        try:
            base = path.parent / str(settings.get("base", file.base))
            experiment = load_experiment(
                base, {**file.fixed, **(changes or {}), **_swept_settings(settings)}, read
            )
        except InputError as error:
            raise InputError(f"{path}: {_label(settings, keys)}: {error}") from None
        experiments.append(
            SweptExperiment(_label(settings, keys), _swept_settings(settings), experiment)
        )
    _refuse_duplicate_labels(path, experiments)
    sources, typed = tuple(contents), dict(changes or {})
    return Sweep(path.stem, _read_opening_comment(path), path, tuple(experiments), sources, typed)


def _combinations(file: SweepFile) -> Iterator[Changes]:
    """Grid x draws x list, the last one fastest, without what `exclude` matches."""
    grid = [
        dict(zip(file.axes, values, strict=True))
        for values in itertools.product(*file.axes.values())
    ]
    draws = list(_draw_combinations(file.random)) if file.random else [{}]
    for *drawn, entry in itertools.product(grid, draws, file.list or ({},)):
        others = {key: value for part in drawn for key, value in part.items()}
        settings = others | entry
        if "label" in entry:
            settings["label"] = ", ".join(
                [str(entry["label"]), *_label_parts(others, list(others))]
            )
        if settings and not any(_matches(settings, pattern) for pattern in file.exclude):
            yield settings


def _draw_combinations(search: RandomSearch) -> Iterator[Changes]:
    """Each combination once: a choice from a short list soon repeats itself."""
    generator = random.Random(search.seed)
    seen = []
    for _ in range(search.draws):
        settings = {key: _draw_value(source, generator) for key, source in search.settings.items()}
        if settings not in seen:
            seen.append(settings)
            yield settings


def _draw_value(choices: SamplingRange | list[Any], generator: random.Random) -> Any:
    if isinstance(choices, list):
        return generator.choice(choices)
    if choices.log:
        # Six digits: enough to repeat a draw from its label, few enough to read.
        value = math.exp(generator.uniform(math.log(choices.low), math.log(choices.high)))
        return float(f"{value:.6g}")
    return float(f"{generator.uniform(choices.low, choices.high):.6g}")


def _matches(settings: Changes, pattern: Changes) -> bool:
    return all(settings.get(key) == value for key, value in pattern.items())


def _swept_settings(settings: Changes) -> Changes:
    return {key: value for key, value in settings.items() if key not in {"label", "base"}}


def _label(settings: Changes, keys: list[str]) -> str:
    """`label:` in the file, or the values, named by their key where they are not words."""
    return (
        str(settings["label"]) if "label" in settings else ", ".join(_label_parts(settings, keys))
    )


def _label_parts(settings: Changes, keys: list[str]) -> Iterator[str]:
    for key in keys:
        if key in settings:
            value = settings[key]
            text = f"{value:g}" if isinstance(value, float) else str(value)
            yield text if isinstance(value, str) else f"{key.split('.')[-1]} {text}"


def _refuse_duplicate_labels(path: Path, experiments: list[SweptExperiment]) -> None:
    seen: set[str] = set()
    for swept in experiments:
        if swept.label in seen:
            raise InputError(
                f"{path}: two experiments are called {swept.label!r}; give one a label:"
            )
        seen.add(swept.label)


def _read_opening_comment(path: Path) -> str:
    """Lines of the opening comment, without the #."""
    lines = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()
    )
    return "\n".join(line.lstrip("#").strip() for line in lines)
