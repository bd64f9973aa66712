"""Sweeps: a base experiment and what varies -> many experiments, in the written order.

In:   a sweep file.   Out: a `Sweep`, with the label and the swept settings of each experiment.
Not here: which experiments still have to run (jobs/launch/decision.py).
"""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from pipeline.config.arm_names import SEED, arm_name
from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import Settings, read_yaml, validate_settings
from pipeline.config.sweep_sections.early_stop import StopRules
from pipeline.config.sweep_sections.expectation import Expectation, read_expectations
from pipeline.config.sweep_sections.random_search import RandomSearch, draw_combinations
from pipeline.files import InputError, json_digest

Changes = dict[str, Any]  # dotted key -> value

MAX_SEEDS = 100  # per arm
MAX_CHANGES_LENGTH = 40  # characters of SET in the name of a sweep


class SweepFile(Settings):
    """A sweep: every combination of the grid of `axes`, the `random` draws and the `list`."""

    base: str = Field(description="path of an experiment file, relative to the sweep file")
    fixed: dict[str, Any] = Field(
        default_factory=dict,
        description="dotted key -> value for every experiment; swept settings override it; the "
        "tables of a report have a column for it, its page has none",
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
    seeds: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SEEDS,
        description="each combination is run with train.seed 0, 1, …, seeds - 1; null: with the "
        "seeds that axes or the base give [runs per arm]",
    )
    expect: tuple[str, ...] = Field(
        default=(),
        description="`A < B`: arm A, named by its label without the seed, is expected to have a "
        "lower test CER than arm B; `A = B`: they cannot be told apart; the report says whether "
        "that held",
    )
    stop: StopRules | None = Field(
        default=None, description="when runs are stopped early; null: every run is finished"
    )


class SweptExperiment(NamedTuple):
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
    seeds: int | None = None  # from SEEDS on the command line
    stop: StopRules | None = None
    expect: tuple[Expectation, ...] = ()
    fixed: Changes = field(default_factory=dict)  # of every experiment, in the sweep file

    @property
    def arms(self) -> tuple[tuple[SweptExperiment, ...], ...]:
        """The experiments in groups that differ in their seed only, in the written order."""
        arms: dict[Experiment, list[SweptExperiment]] = {}
        for swept in self.experiments:
            arms.setdefault(swept.experiment.without_seed, []).append(swept)
        return tuple(map(tuple, arms.values()))

    @property
    def cost(self) -> str:
        """The text after `Cost:` in the opening comment, up to the next word with a colon."""
        found = re.search(r"^Cost:(.*(?:\n(?!\w+:).*)*)", self.question, re.MULTILINE)
        return " ".join(found[1].split()) if found else ""


def single_run_sweep(
    path: Path, experiment: Experiment, verb: str, changes: Mapping[str, Any] | None = None
) -> Sweep:
    """Return a sweep of one experiment, to which SET made `changes`, named `<verb>-<file>`.

    The experiment.yaml of a run folder is named by its folder.
    """
    label = path.resolve().parent.name if path.name == "experiment.yaml" else path.stem
    name = changed_name(f"{verb}-{label}", changes or {})
    swept = SweptExperiment(label, {}, experiment)
    return Sweep(name, "", path, (swept,), changes=dict(changes or {}))


def changed_name(name: str, changes: Mapping[str, Any]) -> str:
    """Return the name of a sweep under SET: `spectrum_epochs-3_1a2b3c`; without SET its own name.

    Another SET is another sweep, with its own ledger and its own report. The digest tells apart
    what looks the same.
    """
    if not changes:
        return name
    pairs = sorted((key, repr(value)) for key, value in changes.items())
    text = "_".join(f"{key.rpartition('.')[2]}-{changes[key]}" for key, _ in pairs)
    shown = re.sub(r"[^A-Za-z0-9.+_-]+", "-", text)[:MAX_CHANGES_LENGTH].strip("-.")
    return f"{name}_{shown}_{json_digest(pairs)[:6]}"


def load_sweep(
    path: Path, changes: Mapping[str, Any] | None = None, seeds: int | None = None
) -> Sweep:
    """Read a sweep file and apply `changes` (dotted key -> value) to every experiment.

    `seeds`: at least this number of seeds per arm, from SEEDS on the command line.
    Raises InputError if a file or a setting is invalid, if `changes` has a key that the sweep
    varies, if seeds are set in two places, or if two experiments have the same label.
    """
    contents: dict[Path, dict[str, Any]] = {}

    def read(source: Path) -> dict[str, Any]:  # cached: many experiments have the same base
        if source not in contents:
            contents[source] = read_yaml(source)
        return contents[source]

    file = validate_settings(SweepFile, read(path), path)
    _refuse_seeds_set_twice(path, file, changes or {}, seeds)
    file = _with_seed_axis(file, seeds)
    swept = list(_combinations(file))
    if not swept:
        raise InputError(
            f"{path}: no experiment is left; widen axes, random or list, or narrow exclude"
        )
    keys = list(dict.fromkeys(key for settings in swept for key in settings))
    _refuse_change_of_swept(path, keys, changes or {})
    experiments = []
    for settings in swept:
        label = _label(settings, keys)
        try:
            base = path.parent / str(settings.get("base", file.base))
            own = {**file.fixed, **(changes or {}), **_swept_settings(settings)}
            experiment = load_experiment(base, _seed_last(own), read, set_changes=changes or {})
        except InputError as error:
            raise InputError(f"{path}: {label}: {error}") from None
        experiments.append(SweptExperiment(label, _swept_settings(settings), experiment))
    _refuse_duplicate_labels(path, experiments)
    arms = dict.fromkeys(arm_name(one.label, one.settings) for one in experiments)
    return Sweep(
        name=changed_name(path.stem, changes or {}),
        question=_read_opening_comment(path),
        path=path,
        experiments=tuple(experiments),
        sources=tuple(contents),
        changes=dict(changes or {}),
        seeds=seeds,
        stop=file.stop,
        expect=read_expectations(file.expect, arms, path),
        fixed=file.fixed,
    )


def _refuse_change_of_swept(path: Path, keys: Collection[str], changes: Collection[str]) -> None:
    if both := sorted(set(keys) & set(changes)):
        raise InputError(
            f"SET {both[0]}: {path} varies this setting; change it there, or remove it from SET"
        )


def _refuse_seeds_set_twice(
    path: Path, file: SweepFile, changes: Mapping[str, Any], seeds: int | None
) -> None:
    """Raise InputError if `seeds:` or SEEDS is out of range, or if another place sets the seed."""
    if seeds is not None and not 1 <= seeds <= MAX_SEEDS:
        raise InputError(f"SEEDS={seeds}: must be a whole number from 1 to {MAX_SEEDS}")
    if file.seeds is None and seeds is None:
        return
    places = {
        f"SET {SEED}": changes,
        f"fixed: {SEED}": file.fixed,
        f"random: {SEED}": file.random.settings if file.random else {},
        f"list: {SEED}": {key for entry in file.list for key in entry},
        f"axes: {SEED}": file.axes if file.seeds else {},  # SEEDS extends this axis
    }
    if twice := [place for place, keys in places.items() if SEED in keys]:
        first = f"seeds: {file.seeds}" if file.seeds else f"SEEDS={seeds}"
        raise InputError(f"{path}: {first} and {twice[0]} both set the seed; remove one of them")


def _with_seed_axis(file: SweepFile, seeds: int | None) -> SweepFile:
    """Return the file with its seeds as an axis of at least `seeds` values.

    A new axis is the last one. An axis of the file keeps its place and its values, and the next
    integers follow them.
    """
    axis = file.axes.get(SEED, range(file.seeds or 0))
    following = itertools.count(max((n for n in axis if isinstance(n, int)), default=-1) + 1)
    added = itertools.islice(following, max(0, (seeds or 0) - len(axis)))
    values = [*axis, *added]
    return file.model_copy(update={"axes": {**file.axes, SEED: values}}) if values else file


def _combinations(file: SweepFile) -> Iterator[Changes]:
    """Yield grid x draws x list, the list fastest, without what `exclude` matches."""
    grid = [
        dict(zip(file.axes, values, strict=True))
        for values in itertools.product(*file.axes.values())
    ]
    draws = list(draw_combinations(file.random)) if file.random else [{}]
    for *drawn, entry in itertools.product(grid, draws, file.list or ({},)):
        others = {key: value for part in drawn for key, value in part.items()}
        settings = others | entry
        if "label" in entry:
            settings["label"] = ", ".join(
                [str(entry["label"]), *_label_parts(others, list(others))]
            )
        if settings and not any(_matches(settings, pattern) for pattern in file.exclude):
            yield settings


def _matches(settings: Changes, pattern: Changes) -> bool:
    return all(settings.get(key) == value for key, value in pattern.items())


def _swept_settings(settings: Changes) -> Changes:
    return {key: value for key, value in settings.items() if key not in {"label", "base"}}


def _seed_last(changes: Changes) -> Changes:
    """Return the changes with the seed last: a change of all of `train` must not reset it."""
    return dict(sorted(changes.items(), key=lambda change: change[0] == SEED))


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
