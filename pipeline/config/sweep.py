"""Sweeps: a base experiment and what varies -> many experiments, in the written order.

In:   a sweep file.   Out: a `Sweep`, with the label and the swept settings of each experiment.
Not here: which experiments still have to run (jobs/launch/decision.py).
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
    """The range of a random draw: uniform, or uniform in the logarithm."""

    low: float = Field(description="smallest value [the setting's unit]")
    high: float = Field(description="largest value; above low [the setting's unit]")
    log: bool = Field(
        default=False, description="true: draw uniformly in the logarithm; low must be above 0"
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> "SamplingRange":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"low {self.low:g} must be below high {self.high:g}, and above 0 if log is true"
            )
        return self


class RandomSearch(Settings):
    """Random search: each setting is drawn independently; the same seed gives the same draws."""

    draws: int = Field(
        ge=1,
        le=100_000,
        description="number of draws; a draw that repeats another is left out [experiments]",
    )
    seed: int = Field(default=0, description="seed of the draws [seed]")
    settings: dict[str, SamplingRange | Annotated[list[Any], Field(min_length=1)]] = Field(
        description="dotted key of an experiment setting -> a list of values to choose from, or a "
        "range with low, high and log"
    )


class SweepFile(Settings):
    """A sweep: every combination of the grid of `axes`, the `random` draws and the `list`."""

    base: str = Field(description="path of an experiment file, relative to the sweep file")
    fixed: dict[str, Any] = Field(
        default_factory=dict,
        description="dotted key -> value for every experiment; swept settings override it, and "
        "tables have no column for it",
    )
    axes: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="grid: dotted key -> list of values; all combinations are run",
    )
    random: RandomSearch | None = Field(default=None, description="random search")
    list: tuple[Changes, ...] = Field(
        default=(),
        description="explicit experiments, each a mapping of dotted keys to values; an entry may "
        "have its own label and its own base",
    )
    exclude: tuple[Changes, ...] = Field(
        default=(),
        description="mappings of dotted keys to values; an experiment that matches all of one "
        "mapping is left out",
    )


@dataclass(frozen=True)
class SweptExperiment:
    """One experiment of a sweep."""

    label: str  # its swept values: "mel, seed 0"
    settings: Changes  # swept dotted keys -> values
    experiment: Experiment


@dataclass(frozen=True)
class Sweep:
    """The experiments of a sweep file and the question that they answer."""

    name: str
    question: str  # the comment at the top of the file
    path: Path
    experiments: tuple[SweptExperiment, ...]
    sources: tuple[Path, ...] = ()  # every settings file that was read
    changes: Changes = field(default_factory=dict)  # from SET on the command line

    @property
    def cost(self) -> str:
        """The text after `Cost:` in the opening comment, up to the next word with a colon."""
        found = re.search(r"^Cost:(.*(?:\n(?!\w+:).*)*)", self.question, re.MULTILINE)
        return " ".join(found[1].split()) if found else ""


def single_run_sweep(path: Path, experiment: Experiment, verb: str) -> Sweep:
    """Return a sweep of one experiment, named `<verb>-<file>`."""
    return Sweep(f"{verb}-{path.stem}", "", path, (SweptExperiment(path.stem, {}, experiment),))


def load_sweep(path: Path, changes: Mapping[str, Any] | None = None) -> Sweep:
    """Read a sweep file and apply `changes` (dotted key -> value) to every experiment.

    Raises InputError if a file or a setting is invalid, if `changes` has a key that the sweep
    varies, or if two experiments have the same label.
    """
    contents: dict[Path, dict[str, Any]] = {}

    def read(source: Path) -> dict[str, Any]:  # cached: many experiments have the same base
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
            f"SET {both[0]}: {path} varies this setting; change it there, or remove it from SET"
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
    """Yield grid x draws x list, the list fastest, without what `exclude` matches."""
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
    """Yield each draw once: choices from short lists repeat."""
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
        # Six digits are enough to repeat a draw from its label and still easy to read.
        value = math.exp(generator.uniform(math.log(choices.low), math.log(choices.high)))
        return float(f"{value:.6g}")
    return float(f"{generator.uniform(choices.low, choices.high):.6g}")


def _matches(settings: Changes, pattern: Changes) -> bool:
    return all(settings.get(key) == value for key, value in pattern.items())


def _swept_settings(settings: Changes) -> Changes:
    return {key: value for key, value in settings.items() if key not in {"label", "base"}}


def _label(settings: Changes, keys: list[str]) -> str:
    """Return the entry's `label`, or its values; a value that is not a text follows its key."""
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
                f"{path}: two experiments have the label {swept.label!r}; give one of them another "
                "label:"
            )
        seen.add(swept.label)


def _read_opening_comment(path: Path) -> str:
    """Return the comment at the top of the file, without the #."""
    lines = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()
    )
    return "\n".join(line.lstrip("#").strip() for line in lines)
