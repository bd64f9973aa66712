"""Provenance: which code, versions and processors made the runs, and where they differ.

In:   run summaries.   Out: columns of summary.csv; what the page shows; sentences.
Not here: finding it out (jobs/code_snapshot.py, training/loop/devices.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results.summary.run_summary import RunSummary

PROVENANCE_COLUMNS = (
    *("attempts", "commit", "dirty", "code", "snapshot", "python", "torch", "numpy", "cuda"),
    *("device", "processor", "threads"),
)
MAX_NAMED_RUNS = 3  # of each kind, in a sentence
SHORT_COMMIT = 10  # characters

# Fact of environment.json -> what it is called. A sentence says where compared runs differ in it.
COMPARED_FACTS = {
    "code": "versions of the code",
    "torch": "versions of torch",
    "device": "kinds of device",
    "processor": "kinds of processor",
    "features_engine": "engines that computed the features",
}


@dataclass(frozen=True)
class CodeVersion:
    """Code that made some of the runs."""

    code: str  # digest of all that computes a run's numbers
    commit: str  # empty: not known
    dirty: bool | None  # whether the code differed from the commit; None: not known
    runs: int


def provenance_columns(run: RunSummary) -> dict[str, Any]:
    """Return the facts of the last attempt, and how many attempts there were."""
    facts = {name: run.environment.get(name) for name in PROVENANCE_COLUMNS[1:]}
    return {"attempts": len(run.environments) or None, **facts}


def environment_facts(run_summaries: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Return the distinct values of each fact: one value if all runs agree."""
    facts: dict[str, dict[str, None]] = {}
    for run in run_summaries:
        for fact, value in run.environment.items():
            if fact not in {"job", "commit", "dirty", "code"}:
                facts.setdefault(fact, {})["unknown" if value is None else str(value)] = None
    return {fact: list(values) for fact, values in facts.items()}


def code_versions(run_summaries: Sequence[RunSummary]) -> list[CodeVersion]:
    """Return the versions of the code that made the runs, in the order of the runs."""
    counts: dict[tuple[str, str, bool | None], int] = {}
    for run in run_summaries:
        if code := run.environment.get("code"):
            commit, dirty = run.environment.get("commit"), run.environment.get("dirty")
            key = (str(code), str(commit or ""), dirty)
            counts[key] = counts.get(key, 0) + 1
    return [CodeVersion(*key, runs) for key, runs in counts.items()]


def difference_notes(compared: Sequence[RunSummary]) -> list[str]:
    """Return a sentence for each fact in which runs that are compared differ."""
    notes = []
    for fact, name in COMPARED_FACTS.items():
        labels: dict[str, list[str]] = {}
        for run in compared:
            labels.setdefault(_describe(run.environment, fact), []).append(run.run.label)
        if len(labels) > 1:
            listed = "; ".join(f"{value}: {_list_runs(runs)}" for value, runs in labels.items())
            notes.append(
                f"The compared runs were made by {len(labels)} {name}, so a difference of theirs "
                f"may come from that: {listed}."
            )
    return [*notes, *_attempt_notes(compared)]


def _attempt_notes(compared: Sequence[RunSummary]) -> Iterator[str]:
    """Yield a sentence for each fact in which the attempts of a run differ."""
    for fact, name in COMPARED_FACTS.items():
        changed = []
        for run in compared:
            values = dict.fromkeys(_describe(each, fact) for each in run.environments)
            if len(values) > 1:
                changed.append(f"{run.run.label} ({', then '.join(values)})")
        if changed:
            yield f"Runs that were continued by other {name}: {_list_runs(changed)}."


def _describe(environment: dict[str, Any], fact: str) -> str:
    value = environment.get(fact)
    if value is None:
        return "unknown"
    commit = environment.get("commit")
    if fact != "code" or not commit:
        return str(value)
    changed = ", with uncommitted changes" if environment.get("dirty") else ""
    return f"{value} (commit {str(commit)[:SHORT_COMMIT]}{changed})"


def _list_runs(labels: Sequence[str]) -> str:
    more = len(labels) - MAX_NAMED_RUNS
    return ", ".join(labels[:MAX_NAMED_RUNS]) + (f" and {more} more" if more > 0 else "")
