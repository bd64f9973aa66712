"""Remedies: what the next submission of a failed run asks for, or why there is none.

In:   why it failed, its earlier entries of the ledger, the profile's limits.
Out:  a `Remedy` for each run, `Again` for its features; the plan, an array for each request.
Not here: how a cause is found (failures.py, endings.py), asking SLURM (slurm.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs import code_snapshot
from jobs.node.task_file import Run, Slice
from jobs.profile import FeatureJobs, Profile, Slurm
from jobs.slurm.limits import NOTHING_SPECIAL, Limits, Wish
from jobs.slurm.resources import AS_THE_PROFILE_SAYS, Request
from jobs.sweep import plan
from jobs.sweep.feature_status import Ending
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import Entry
from jobs.sweep.plan import Plan
from jobs.sweep.run_status import RunStatus

# The same code on the same input ends the same way: they wait for other code.
DETERMINISTIC = {"code error", "divergence", "infeasible"}
# What may pass, or not; counted. All else goes on from its last save, or was mended by hand.
COUNTED = {"out of memory", "GPU out of memory", "node failure", "killed"}
# Of a job that ended before its run could say why: a node may lack a module. Counted, too.
UNRECORDED = "code error"


@dataclass(frozen=True)
class Failed:
    """How the last attempt of a run ended."""

    cause: str
    nodes: frozenset[str] = frozenset()  # that failed under it
    recorded: bool = False  # by the run itself, with a traceback


@dataclass(frozen=True)
class Remedy:
    request: Request = AS_THE_PROFILE_SAYS
    told: str = ""  # what is done differently, or why nothing is
    refused: bool = False


def chosen(
    statuses: Sequence[RunStatus], missing: Sequence[Run], folder: SweepFolder, profile: Profile
) -> dict[str, Remedy]:
    """Of the missing runs that were tried before."""
    ids, attempts = {run.run_id for run in missing}, folder.attempts()
    tried = [run for run in statuses if run.run_id in ids and run.run_id in attempts]
    code, found = code_snapshot.name() if tried else "", {}
    for run in tried:
        failure = folder.run(run.run_id).failure()
        how = Failed(
            run.cause if run.state == "failed" else "",
            frozenset(run.failed_nodes),
            recorded=bool(failure and failure.traceback),
        )
        found[run.run_id] = remedy(run.run_id, how, attempts[run.run_id], profile, code)
    return found


@dataclass(frozen=True)
class Again:
    """What is done about missing slices."""

    slices: tuple[Slice, ...]
    request: Request = AS_THE_PROFILE_SAYS
    left_out: frozenset[str] = frozenset()  # feature sets that stay incomplete
    told: tuple[str, ...] = ()


def of_features(
    slices: Sequence[Slice], ended: Mapping[str, Ending], folder: SweepFolder, profile: Profile
) -> Again:
    """Their jobs ask for the most that one of them needs: they are few, and alike."""
    if not ended or not isinstance(profile, Slurm):
        return Again(tuple(slices))
    attempts, code = folder.attempts(), code_snapshot.name()
    found = {
        item: remedy(
            item, Failed(e.cause, e.nodes, e.recorded), attempts[item], profile, code, features=True
        )
        for item, e in ended.items()
    }
    refused = {item.rpartition("/")[0] for item, each in found.items() if each.refused}
    kept = [
        replace(piece, feature_ids=tuple(n for n in piece.feature_ids if n not in refused))
        for piece in slices
    ]
    requests = [each.request for each in found.values()]
    asked = [each.memory_gb for each in requests if each.memory_gb is not None]
    nodes = sorted({node for each in requests for node in each.exclude})
    return Again(
        tuple(piece for piece in kept if piece.feature_ids),
        Request(max(asked, default=None), tuple(nodes)),
        frozenset(refused),
        tuple(dict.fromkeys(f"features: {each.told}" for each in found.values() if each.told)),
    )


def remedy(
    item: str,
    failed: Failed,
    attempts: Sequence[Entry],
    profile: Profile,
    code: str,
    *,
    features: bool = False,
) -> Remedy:
    """`attempts`: entries of this run or shard, in order; `code`: the snapshot's by now."""
    cause, last = failed.cause, attempts[-1] if attempts else None
    if cause in DETERMINISTIC and failed.recorded and last and last.code == code:
        shows = f"the log of {item}" if features else f"make logs RUN={item}"
        return _refuse(
            f"{cause}, and the code is still the same: mend what {shows} shows, or delete its "
            f"failure file where the code is not to blame"
        )
    spent = sum(_counts(entry, item, code) for entry in attempts)
    if cause in {*COUNTED, UNRECORDED} and spent >= profile.retries:
        return _refuse(f"{cause}, after {spent} retries; raise retries in the profile")
    if not isinstance(profile, Slurm):
        return Remedy()
    exclude = tuple(sorted({*(last.exclude if last else ()), *failed.nodes}))
    told = [f"not on {', '.join(exclude)}"] if failed.nodes else []
    has = profile.features if features else profile
    memory = _memory(cause, last, has)
    if cause == "out of memory":
        if memory is None:
            key = "features.memory_gb" if features else "max_memory_gb"
            most = f"{has.most_memory_gb:g} GB"
            return _refuse(f"out of memory at {most}; raise {key} in the profile")
        told.append(f"with {memory:g} GB")
    asked = None if memory == has.job_memory_gb else memory
    return Remedy(Request(asked, exclude), f"{cause}: again {' and '.join(told)}" if told else "")


def _memory(cause: str, last: Entry | None, has: Slurm | FeatureJobs) -> float | None:
    """Doubled where it was too little, and kept so; None where there is no more to be had."""
    had = (last.memory_gb if last else None) or has.job_memory_gb
    if cause != "out of memory":
        return max(has.job_memory_gb, min(had, has.most_memory_gb))
    most = max(has.job_memory_gb, min(2 * had, has.most_memory_gb))
    return most if most > had else None


def _counts(entry: Entry, item: str, code: str) -> bool:
    """As a retry; one after a code error does while the code is the same."""
    before = _cause_before(entry, item)
    return before in COUNTED or (before == UNRECORDED and entry.code == code)


def _cause_before(entry: Entry, item: str) -> str:
    causes = dict(zip(entry.items, entry.causes, strict=False))
    return causes.get(item, "")


def _refuse(why: str) -> Remedy:
    return Remedy(told=f"left out: {why}", refused=True)


def planned(
    slices: Sequence[Slice],
    runs: Sequence[Run],
    requests: Mapping[str, Request],
    limits: Limits,
    wish: Wish = NOTHING_SPECIAL,
    *,
    minutes_per_run: float | None = None,
    of_features: Request = AS_THE_PROFILE_SAYS,
) -> Plan:
    """Runs that ask for something of their own get arrays of their own, in what room there is."""
    refused = slices if limits.feature_room == 0 else ()
    starved = {name for piece in refused for name in piece.feature_ids}
    able = [run for run in runs if run.feature_id not in starved]
    groups: dict[Request, list[Run]] = {AS_THE_PROFILE_SAYS: []}
    for run in able:
        groups.setdefault(requests.get(run.run_id, AS_THE_PROFILE_SAYS), []).append(run)
    if able and not groups[AS_THE_PROFILE_SAYS]:
        del groups[AS_THE_PROFILE_SAYS]
    shares = _shares(limits.running, len(groups))
    whole, left = Plan(deferred_runs=len(runs) - len(able)), limits
    for place, ((request, group), share) in enumerate(zip(groups.items(), shares, strict=True)):
        mine = replace(left, tasks=_room(left.tasks, len(groups) - place - 1), running=share)
        if share == 0:
            mine = replace(mine, tasks=0)  # until others have ended
        wished = replace(wish, report=wish.report and not whole.report)
        made = plan.plan(slices if place == 0 else (), group, mine, wished, minutes_per_run)
        beside = sum(len(array.tasks) for array in made.features) + made.report
        left = replace(
            left,
            tasks=_minus(left.tasks, made.tasks),
            feature_room=_minus(left.feature_room, beside),
        )
        whole = _joined(whole, made, request)
    features = tuple(replace(array, request=of_features) for array in whole.features)
    return replace(whole, features=features)


def _room(tasks: int | None, to_come: int) -> int | None:
    """One is kept for each group to come."""
    return None if tasks is None else max(min(tasks, 1), tasks - to_come)


def _minus(room: int | None, used: int) -> int | None:
    return None if room is None else room - used


def _shares(running: int | None, groups: int) -> list[int | None]:
    """Of the tasks that may run at once: most for the first; none where there are too few."""
    if running is None:
        return [None] * groups
    served = min(groups, running)
    others = max(1, running // (2 * groups))
    shares = [running - others * (served - 1)] + [others] * (served - 1)
    return [*shares, *[0] * (groups - served)]


def _joined(whole: Plan, made: Plan, request: Request) -> Plan:
    needed = [each.minutes_needed for each in (whole, made) if each.minutes_needed is not None]
    return Plan(
        features=(*whole.features, *made.features),
        runs=(*whole.runs, *(replace(array, request=request) for array in made.runs)),
        report=whole.report or made.report,
        minutes_needed=max(needed, default=None),
        deferred_slices=whole.deferred_slices + made.deferred_slices,
        deferred_runs=whole.deferred_runs + made.deferred_runs,
    )
