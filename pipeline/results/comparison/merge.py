"""Merge: the runs of several sweeps as those of one, each run once.

In:   the runs of each sweep, and what it expects of its arms.
Out:  runs whose labels and settings fit together; what is expected of these.
Not here: grouping runs into arms (arms.py), the tables.

Runs that differ in their seed only are one arm, whichever sweep each comes from. A setting in which
the sweeps differ, as their bases do, is a swept setting of all of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.config.arm_names import (
    SEED,
    UNNAMED_ARM,
    arm_name,
    label_without_seed,
    settings_without_seed,
)
from pipeline.config.experiment import Experiment
from pipeline.config.loader import flatten
from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.results.summary.run_summary import SweepRun

Settings = dict[str, Any]


def merge_sweeps(sweeps: Sequence[Sequence[SweepRun]]) -> list[SweepRun]:
    """Return each run once, in the order of the sweeps; a run of several has all their names."""
    same_run: dict[Path, list[SweepRun]] = {}
    for run in chain.from_iterable(sweeps):
        same_run.setdefault(run.folder.path, []).append(run)
    arms: dict[str, list[SweepRun]] = {}
    for each in same_run.values():
        names = " ".join(dict.fromkeys(run.sweep for run in each))
        changes = {key: value for run in each for key, value in run.changes.items()}
        merged = replace(each[0], sweep=names, changes=changes)
        arms.setdefault(_arm_key(merged), []).append(merged)
    differing = _differing_settings([runs[0] for runs in arms.values()])
    labels = Counter(label_without_seed(runs[0].label, runs[0].settings) for runs in arms.values())
    found = []
    for runs, more in zip(arms.values(), differing, strict=True):
        label = label_without_seed(runs[0].label, runs[0].settings)
        if labels[label] > 1 or not label:
            label = f"{runs[0].sweep.split(' ')[0]}: {label or UNNAMED_ARM}"
        found += _rename_arm(runs, label, more)
    return found


def merge_expectations(
    sweeps: Sequence[Sequence[SweepRun]],
    expectations: Sequence[Sequence[Expectation]],
    merged: Sequence[SweepRun],
) -> list[Expectation]:
    """Return what the sweeps expect, with the names of the merged arms, and each of it once.

    `expectations`: of each sweep. An expectation of two arms that became one is left out.
    """
    new_names = {run.folder.path: arm_name(run.label, run.settings) for run in merged}
    found: list[Expectation] = []
    for runs, expected in zip(sweeps, expectations, strict=True):
        names = {arm_name(run.label, run.settings): new_names[run.folder.path] for run in runs}
        found += [
            Expectation(names.get(first, first), relation, names.get(second, second))
            for first, relation, second in expected
        ]
    return list(dict.fromkeys(each for each in found if each.first != each.second))


def _rename_arm(runs: Sequence[SweepRun], label: str, more: Settings) -> list[SweepRun]:
    """Return the runs of an arm with one label and the same settings, but for the seed."""
    own = settings_without_seed(runs[0].settings)
    if len(runs) == 1 and SEED not in runs[0].settings:
        return [replace(runs[0], label=label, settings={**own, **more})]
    seeds = [_seed(run) for run in runs]
    return [
        replace(run, label=f"{label}, seed {seed}", settings={**own, **more, SEED: seed})
        for run, seed in zip(runs, seeds, strict=True)
    ]


def _seed(run: SweepRun) -> Any:
    if SEED in run.settings:
        return run.settings[SEED]
    experiment = _experiment(run)
    return experiment.train.seed if experiment else run.folder.run_id


def _arm_key(run: SweepRun) -> str:
    """Return what the runs of an arm have in common; a run that cannot be read is an arm."""
    experiment = _experiment(run)
    if experiment is None:
        return str(run.folder.path)
    features = "" if experiment.corpus.folds else str(run.features)  # each fold has its own
    return repr((experiment.without_seed, features))


def _differing_settings(runs: Sequence[SweepRun]) -> list[Settings]:
    """Return of each run the settings in which the runs differ and which some do not sweep."""
    flat = [dict(flatten(each.model_dump())) if (each := _experiment(run)) else {} for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    known = [each for each in flat if each]
    differing = [
        key for key in keys if any(each.get(key) != known[0].get(key) for each in known[1:])
    ]
    unswept = {SEED, "decode.also"}  # decodings are no part of a run's identity
    wanted = [key for key in differing if key not in unswept and not key.startswith("corpus.")]
    return [
        {key: each[key] for key in wanted if key in each and not _is_swept(key, run.settings)}
        for each, run in zip(flat, runs, strict=True)
    ]


def _is_swept(key: str, settings: Settings) -> bool:
    return any(key == swept or key.startswith(f"{swept}.") for swept in settings)


def _experiment(run: SweepRun) -> Experiment | None:
    try:
        return run.folder.experiment()
    except (OSError, ValueError):  # it does not exist yet, or is damaged
        return None
