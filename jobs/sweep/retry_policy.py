"""Retry policy: what the next job of a failed run requests, or why there is no next job. Pure.

In:   why it failed, its earlier entries in the ledgers, the profile.
Out:  a `RetryDecision` for each run, a `FeatureRetry` for the shards.
Not here: finding the cause (run_status.py, feature_status.py), the plan with these requests
(plan.py), submitting (launch/submit.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from jobs.node.task_file import Run, Slice
from jobs.profile import Profile, SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm.resources import NO_OVERRIDE, ResourceOverride
from jobs.sweep.feature_status import ShardFailure
from jobs.sweep.ledger import LedgerEntry, excluded_since
from jobs.sweep.run_status import RunStatus

# The same code on the same input fails again: these are retried only with other code.
DETERMINISTIC_CAUSES = {"code error", "divergence", "infeasible"}
# These may or may not happen again, so their retries are counted. After any other cause a run
# continues from its last save, or a person has corrected something.
COUNTED_CAUSES = {"out of memory", "GPU out of memory", "node failure", "unusable GPU", "killed"}
# A node that failed is used again after this time: it may have been repaired.
EXCLUSION_S = 24 * 3600.0
# Counted too, if the job ended before its run could record why: a module may be missing on a node.
UNRECORDED_CAUSE = "code error"


@dataclass(frozen=True)
class RetryHistory:
    """What is known of earlier attempts at the runs and shards of a sweep."""

    entries: Mapping[str, Sequence[LedgerEntry]]  # run id or shard -> its tasks, the last one last
    runs_with_traceback: frozenset[str] = frozenset()  # run ids; the run itself recorded it
    code: str = ""  # digest of the code as it is now
    states: Mapping[str, str] = field(default_factory=dict)  # run id -> version of its saved state
    now: float = 0.0  # unix time
    # partition -> its nodes that are up, if a node may be excluded there; missing: not known
    nodes_up: Mapping[str | None, Collection[str]] = field(default_factory=dict)


class FailedAttempt(NamedTuple):
    """How the last attempt at a run or a shard ended; `cause` is empty if it did not fail."""

    cause: str
    nodes: frozenset[str] = frozenset()  # nodes that failed during it
    has_traceback: bool = False  # recorded by the run or the task itself


class RetryDecision(NamedTuple):
    override: ResourceOverride = NO_OVERRIDE
    message: str = ""  # what is done differently, or why the run is left out
    refused: bool = False


def decide_retries(
    statuses: Sequence[RunStatus], missing: Sequence[Run], history: RetryHistory, profile: Profile
) -> dict[str, RetryDecision]:
    """Return the decision for each missing run that was tried before, by run id."""
    ids = {run.run_id for run in missing} & history.entries.keys()
    decisions = {}
    for run in statuses:
        if run.run_id in ids:
            failed_attempt = FailedAttempt(
                run.cause if run.state == "failed" else "",
                frozenset(run.failed_nodes),
                has_traceback=run.run_id in history.runs_with_traceback,
            )
            decisions[run.run_id] = decide_retry(run.run_id, failed_attempt, history, profile)
    return decisions


class FeatureRetry(NamedTuple):
    """What is done about the missing slices of feature sets."""

    slices: tuple[Slice, ...]
    override: ResourceOverride = NO_OVERRIDE
    left_out: frozenset[str] = frozenset()  # feature sets that stay incomplete
    messages: tuple[str, ...] = ()


def decide_feature_retry(
    slices: Sequence[Slice],
    failures: Mapping[str, ShardFailure],
    history: RetryHistory,
    profile: Profile,
) -> FeatureRetry:
    """Decide for all missing shards together: their jobs request the largest of their needs.

    `failures`: missing shard -> how its last job failed. Feature jobs are few and alike, so one
    request serves all of them.
    """
    if not failures or not isinstance(profile, SlurmProfile):
        return FeatureRetry(tuple(slices))
    decisions = {
        item: decide_retry(
            item,
            FailedAttempt(failure.cause, failure.nodes, failure.has_traceback),
            history,
            profile,
            features=True,
        )
        for item, failure in failures.items()
    }
    refused = {item.rpartition("/")[0] for item, each in decisions.items() if each.refused}
    kept = [
        replace(piece, feature_ids=tuple(n for n in piece.feature_ids if n not in refused))
        for piece in slices
    ]
    requests = [each.override for each in decisions.values()]
    memory_requests = [each.memory_gb for each in requests if each.memory_gb is not None]
    nodes = tuple(sorted({node for each in requests for node in each.exclude}))
    if not _nodes_remain(nodes, profile.features.partition or profile.partition, history):
        nodes = ()
    return FeatureRetry(
        tuple(piece for piece in kept if piece.feature_ids),
        ResourceOverride(max(memory_requests, default=None), nodes),
        frozenset(refused),
        tuple(
            dict.fromkeys(
                f"features: {each.message}" for each in decisions.values() if each.message
            )
        ),
    )


def decide_retry(
    item: str,
    failed_attempt: FailedAttempt,
    history: RetryHistory,
    profile: Profile,
    *,
    features: bool = False,
) -> RetryDecision:
    """Decide about one run (`item`: its run id) or one shard (`item`: feature id/index)."""
    entries, cause = history.entries[item], failed_attempt.cause
    last = entries[-1]
    if cause in DETERMINISTIC_CAUSES and failed_attempt.has_traceback and last.code == history.code:
        log = f"the log of {item}" if features else f"make logs RUN={item}"
        return _refuse_retry(
            f"{cause}, and the code has not changed: fix the error that {log} shows, or delete its "
            f"failure file if the code is not the reason"
        )
    retries = sum(_counts_as_retry(entry, item, history) for entry in entries)
    if cause in {*COUNTED_CAUSES, UNRECORDED_CAUSE} and retries >= profile.retries:
        return _refuse_retry(f"{cause}, after {retries} retries; raise retries in the profile")
    if not isinstance(profile, SlurmProfile):
        return RetryDecision()
    job_settings = profile.features if features else profile
    exclude = _nodes_to_exclude(entries, failed_attempt.nodes, history)
    if not _nodes_remain(exclude, job_settings.partition or profile.partition, history):
        exclude, changes = (), ["on the same nodes, because no other one is up"]
    else:
        changes = [f"without {', '.join(exclude)}"] if failed_attempt.nodes else []
    memory = _memory_to_request(cause, last, job_settings)
    if cause == "out of memory":
        if memory is None:
            key = "features.memory_gb" if features else "max_memory_gb"
            limit = f"{job_settings.max_job_memory_gb:g} GB"
            return _refuse_retry(f"out of memory at {limit}; raise {key} in the profile")
        changes.append(f"with {memory:g} GB")
    requested_memory = None if memory == job_settings.job_memory_gb else memory
    return RetryDecision(
        ResourceOverride(requested_memory, exclude),
        f"{cause or 'node failure'}: submitted again {' and '.join(changes)}" if changes else "",
    )


def _nodes_to_exclude(
    entries: Sequence[LedgerEntry], failed_nodes: Collection[str], history: RetryHistory
) -> tuple[str, ...]:
    """Return the nodes that failed just now, and those that failed before and not long ago."""
    before = excluded_since(entries)
    recent = {node for node, since in before.items() if history.now - since < EXCLUSION_S}
    return tuple(sorted({*recent, *failed_nodes}))


def _nodes_remain(exclude: Collection[str], partition: str | None, history: RetryHistory) -> bool:
    nodes_up = history.nodes_up.get(partition, ())
    return not exclude or not nodes_up or not set(nodes_up) <= set(exclude)


def _memory_to_request(
    cause: str, last: LedgerEntry, job_settings: SlurmProfile | FeatureJobs
) -> float | None:
    """Return GB: doubled after "out of memory", else as before; None if the limit is reached."""
    previous = last.memory_gb or job_settings.job_memory_gb
    wanted = 2 * previous if cause == "out of memory" else previous
    memory = max(job_settings.job_memory_gb, min(wanted, job_settings.max_job_memory_gb))
    return None if cause == "out of memory" and memory <= previous else memory


def _counts_as_retry(entry: LedgerEntry, item: str, history: RetryHistory) -> bool:
    """Return whether a task was a counted retry; after a code error only with the same code.

    A run that has saved its state since the task began makes progress, so the task does not count.
    """
    state = history.states.get(item, "")
    if dict(zip(entry.items, entry.states, strict=False)).get(item, state) != state:
        return False
    before = _previous_cause(entry, item)
    return before in COUNTED_CAUSES or (before == UNRECORDED_CAUSE and entry.code == history.code)


def _previous_cause(entry: LedgerEntry, item: str) -> str:
    causes = dict(zip(entry.items, entry.causes, strict=False))
    return causes.get(item, "")


def _refuse_retry(why: str) -> RetryDecision:
    return RetryDecision(message=f"left out: {why}", refused=True)
