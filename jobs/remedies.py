"""Remedies: what the next submission of a failed run asks for, or why there is none.

In:   why it failed, its earlier entries of the ledger, the profile's limits.
Out:  a `Remedy` for each run; the plan, an array for each request.
Not here: how a cause is found (failures.py, endings.py), asking SLURM (slurm.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs import plan, snapshot
from jobs.ledger import Entry
from jobs.plan import AS_THE_PROFILE_SAYS, NOTHING_SPECIAL, Limits, Plan, Request, Run, Slice, Wish
from jobs.profile import Profile, Slurm
from jobs.status import RunStatus
from jobs.wanted import SweepFolder

# The same code on the same input ends the same way: they wait for other code.
DETERMINISTIC = {"code error", "divergence", "infeasible"}
# What may pass, or not; counted. All else goes on from its last save, or was mended by hand.
COUNTED = {"out of memory", "GPU out of memory", "node failure", "killed"}


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
    code, found = snapshot.name() if tried else "", {}
    for run in tried:
        failure = folder.run(run.run_id).failure()
        how = Failed(
            run.cause if run.state == "failed" else "",
            frozenset(run.failed_nodes),
            recorded=bool(failure and failure.traceback),
        )
        found[run.run_id] = remedy(run.run_id, how, attempts[run.run_id], profile, code)
    return found


def remedy(
    run_id: str, failed: Failed, attempts: Sequence[Entry], profile: Profile, code: str
) -> Remedy:
    """`attempts`: entries of this run, the last one last; `code`: the snapshot's name by now."""
    cause, last = failed.cause, attempts[-1] if attempts else None
    if cause in DETERMINISTIC and failed.recorded and last and last.code == code:
        return _refuse(f"{cause}, and the code is still the same")
    spent = sum(_cause_before(entry, run_id) in COUNTED for entry in attempts)
    if cause in COUNTED and spent >= profile.retries:
        return _refuse(f"{cause}, after {spent} retries; raise retries in the profile")
    if not isinstance(profile, Slurm):
        return Remedy()
    exclude = tuple(sorted({*(last.exclude if last else ()), *failed.nodes}))
    told = [f"not on {', '.join(exclude)}"] if failed.nodes else []
    memory = _memory(cause, last, profile)
    if cause == "out of memory":
        if memory is None:
            most = f"{profile.most_memory_gb:g} GB"
            return _refuse(f"out of memory at {most}; raise max_memory_gb in the profile")
        told.append(f"with {memory:g} GB")
    asked = None if memory == profile.memory_gb else memory
    return Remedy(Request(asked, exclude), f"{cause}: again {' and '.join(told)}" if told else "")


def _memory(cause: str, last: Entry | None, profile: Slurm) -> float | None:
    """Doubled where it was too little, and kept so; None where there is no more to be had."""
    had = (last.memory_gb if last else None) or profile.memory_gb
    if cause != "out of memory":
        return max(profile.memory_gb, min(had, profile.most_memory_gb))
    most = max(profile.memory_gb, min(2 * had, profile.most_memory_gb))
    return most if most > had else None


def _cause_before(entry: Entry, run_id: str) -> str:
    causes = dict(zip(entry.items, entry.causes, strict=False))
    return causes.get(run_id, "")


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
    return whole


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
