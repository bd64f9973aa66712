"""Progress: what became of the runs of a sweep that are not finished, and what to do next.

In:   run summaries, their comparison, the command of the sweep, what helps against each failure.
Out:  sentences, which follow the answer.
Not here: the answer (answer.py), the state of one run (run_description.py).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.comparison.sensitivity import next_comparison
from pipeline.results.comparison.wording import count_text, join_names, quote_name
from pipeline.results.statistics.variance import PLATEAU_RATE
from pipeline.results.summary.run_summary import RunSummary
from pipeline.runs.decodings import DecodingFolder

# State -> how a sentence counts its runs.
WORDS = {
    "running": "running",
    "waiting": "waiting",
    "missing": "not started",
    "stopped": "stopped",
    "failed": "failed",
}
ACTIVE = {"running", "waiting"}
MIN_VALUES = 3  # of a setting
MAX_MESSAGE_CHARS = 200  # in the answer; the page has the whole message below
ANY_RUN = "RUN=…"  # in a remedy
# Where the runs are, as a command names it.
PLACE_PATTERN = re.compile(r" (?:CLUSTER|WORK)=(?:'[^']*'|[^'\s])+")


def describe_progress(
    run_summaries: Sequence[RunSummary],
    command: str,
    remedies: Mapping[str, str],
    others: Sequence[str] = (),
) -> list[str]:
    """Return how many runs are in which state, why runs failed, and the command that continues.

    `others`: the commands of the other sweeps in the report.
    """
    states: Counter[str] = Counter(run.state for run in run_summaries if run.state in WORDS)
    if not states:
        return []
    counts = ", ".join(f"{states[state]} {word}" for state, word in WORDS.items() if states[state])
    sentences = [f"Not finished: {counts}."] if states.keys() != {"failed"} else []
    failed = _group_by_cause(run_summaries)
    place = find_place(command)
    sentences += [_describe_failures(runs, remedies, place) for runs in failed]
    if states.keys() - ACTIVE:
        # The same settings diverge again.
        needed = [remedies.get(runs[0].cause, "make sweep") for runs in failed]
        to_change = any("make sweep" not in remedy for remedy in needed)
        begin = "Next, after that" if to_change else "Next"
        run = "run" if others else "runs"
        sentences.append(f"{begin}: {' and '.join([command, *others])} {run} what is missing.")
    return sentences


def _group_by_cause(run_summaries: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Return the failed runs of each cause, the most frequent cause first."""
    by_cause: dict[str, list[RunSummary]] = {}
    for run in run_summaries:
        if run.state == "failed":
            by_cause.setdefault(run.cause, []).append(run)
    return sorted(by_cause.values(), key=len, reverse=True)


def _describe_failures(runs: Sequence[RunSummary], remedies: Mapping[str, str], place: str) -> str:
    """Return which runs failed by one cause, what the first one reported, and what helps."""
    first, names = runs[0], [quote_name(run.run.label) for run in runs]
    failed = f"{count_text(len(runs), 'run')} failed, {first.cause or 'unknown cause'}"
    parts = [f"{failed}: {join_names(names)}"]
    if first.message:
        parts.append(f"Message: {_cut(first.message)}")
    if remedy := find_remedy(first, remedies, place):
        parts.append(f"Remedy: {remedy}")
    return " ".join(f"{part.rstrip('.')}." for part in parts)


def find_remedy(run: RunSummary, remedies: Mapping[str, str], place: str = "") -> str:
    """Return what to do about a failed run; empty where its message says that.

    `place`: see `find_place`.
    """
    remedy = remedies.get(run.cause, "")
    if remedy in run.message:
        return ""
    return remedy.replace(ANY_RUN, f"RUN={run.run_id}{place}")


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_CHARS else f"{message[:MAX_MESSAGE_CHARS]}…"


def find_place(command: str) -> str:
    """Return where the runs are, as a command names it: its CLUSTER=… and WORK=…."""
    return "".join(PLACE_PATTERN.findall(command))


def next_step(comparison: SweepComparison, command: str = "make sweep") -> list[str]:
    """Return what to do with a finished sweep; nothing where the answer itself says that.

    `command` runs the sweep.
    """
    best = comparison.best
    if comparison.best_arm is None or best is None or comparison.is_provisional:
        return []
    if comparison.best_arm.mean_test_cer >= PLATEAU_RATE:
        return ['Next: "State of each run" in the report says what to change.']
    if len(comparison.arms) > 1 and not (comparison.inference and comparison.inference.can_decide):
        return []
    return [
        *next_comparison(comparison, command),
        *_next_values(comparison, best),
        _next_with_network(best, command),
    ]


def _next_values(comparison: SweepComparison, best: RunSummary) -> Iterator[str]:
    """Yield which values to try where the best arm has the highest or the lowest of a setting.

    Arms count that differ from the best one in this setting only. 0 and 1 are often the lowest
    possible; below them nothing is suggested. With fewer than MIN_VALUES values each is at an end.
    """
    runs = [arm.runs[0] for arm in comparison.arms]
    keys = dict.fromkeys(key for arm in comparison.arms for key in arm.settings)
    for key in keys:
        others = [other for other in keys if other != key]
        alike = [r for r in runs if all(r.setting(each) == best.setting(each) for each in others)]
        values = [run.setting(key) for run in alike]
        if not all(type(value) in (int, float) for value in values):
            continue
        distinct, value = sorted(set(values)), best.setting(key)
        if len(distinct) < MIN_VALUES:
            continue
        if value == distinct[-1]:
            yield f"Next: try {key} above {value:g}, which is the highest of this sweep."
        elif value == distinct[0] and value not in (0, 1):
            yield f"Next: try {key} below {value:g}, which is the lowest of this sweep."


def _next_with_network(best: RunSummary, command: str) -> str:
    """Return what can be done with the best run; it is decoded again where it is not yet."""
    run = best.run.folder
    place = find_place(command)
    steps = []
    if not DecodingFolder.list_finished(run):
        words = best.hypotheses_for("test").column("words").any()
        adds = "a lexicon and an n-gram model" if words else "an n-gram model"
        only_any = "" if words else " SET=words=any"
        steps.append(f"make decode RUN={run.run_id}{place}{only_any} adds {adds}")
    makes = "phonemes" if best.units == "phonemes" else "text"
    transcribe = f"make transcribe RUN={run.run_id}{place} AUDIO=recording.wav"
    steps.append(f"{transcribe} turns a recording into {makes}")
    return f"Next, with the best run on dev, {best.run.label}: {'; '.join(steps)}."
