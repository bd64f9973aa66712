"""The fault drill: one sweep of twelve runs, and all that clusters and users do to it.

python -m tests.slurm.drill     # as root, where make slurm-up has started a SLURM

A hostile shell, another cluster, another user, a full disk, and both nodes failing: after each step
it checks the causes and that nothing is submitted twice. At the end every run must have the bits
of a run on this machine without SLURM. It prints what it sees, and stops at the first difference.
It sets nodes down and mounts a small disk, so it runs on the development SLURM only.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.messages import count_text
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.queue_cache import invalidate_cache
from pipeline.runs.folder import RunFolder
from tests.slurm.conftest import (
    CommandResult,
    ReferenceRuns,
    SlurmProject,
    hold_slurm,
    run_command,
)
from tests.slurm.test_shell import SHELL

SWEEP = "twelve"
DISK = "96m"  # of the work folder
AT_ONCE = 4  # GPUs of the development SLURM
NODES = ("node1", "node2")
NOBODY = 65534  # the second user

BANNER = 'echo "--> job 3 of 5 allowed"\nexec {real} "$@"\n'
DENIED = 'echo "sacctmgr: error: Access/permission denied" >&2\nexit 1\n'
# Another cluster whose jobs have the numbers of ours: one runs, the others were cancelled.
OTHER_CLUSTER = {
    "scontrol": '{real} "$@" | sed "s/^ClusterName .*/ClusterName = other/"\n',
    "squeue": 'echo "{job}_0|RUNNING|None|main|lab|normal|N/A|their job"\n',
    "sacct": 'echo "{job}_[0-11]|CANCELLED by 0|0:0|node7|$(date +%s)|"\n',
    "sbatch": 'echo "$@" >> {calls}\nexit 1\n',
    "scancel": 'echo "$@" >> {calls}\nexit 1\n',
    "sacctmgr": DENIED,
}
HIDDEN_JOBS = {"squeue": "exit 0\n"}  # PrivateData=jobs: nobody sees the jobs of others


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def check(holds: bool, what: str, seen: object = "") -> None:
    if not holds:
        raise SystemExit(f"the drill fails: {what}: {seen}")
    say(f"held: {what}")


@dataclass
class Drill:
    project: SlurmProject
    environment: dict[str, str]
    known: list[LedgerEntry] = field(default_factory=list)

    @property
    def profile(self) -> Path:
        settings: dict[str, Any] = {"memory_gb": 1, "retries": 3}
        return self.project.write_profile(gated=True, **settings)

    @property
    def runs(self) -> dict[str, RunFolder]:
        return self.project.run_folders(SWEEP)

    def wrappers(self, name: str, scripts: dict[str, str], **words: object) -> str:
        """Write commands of SLURM that a site has changed; return a PATH that begins with them."""
        folder = self.project.folder / name
        folder.mkdir()
        for command, text in scripts.items():
            script = folder / command
            script.write_text(f"#!/bin/sh\n{text.format(real=shutil.which(command), **words)}")
            script.chmod(0o755)
        return f"{folder}{os.pathsep}{os.environ['PATH']}"

    def type(self, verb: str = "sweep", **environment: str) -> str:
        """Type a verb in the hostile shell; require that it succeeds; return what it prints."""
        sweep = self.project.folder / f"configs/sweeps/{SWEEP}.yaml"
        words = ["--once"] if verb == "status" else []
        invalidate_cache(self.project.sweep_folder(SWEEP))  # so that SLURM is queried now
        answer = self.project.run_verb(
            verb, sweep, *words, profile=self.profile,
            environment={**self.environment, **environment},
        )  # fmt: skip
        if (answer.code, answer.errors) != (0, ""):
            raise SystemExit(f"make {verb}: {answer}")
        return answer.out

    def sweep_must_submit(self, labels: set[str], why: str) -> list[LedgerEntry]:
        """Type `make sweep`; it must submit these runs, each once, and no other."""
        printed = self.type()
        entries = self.project.ledger_entries(SWEEP)
        new = [e for e in entries[len(self.known) :] if e.kind == "runs"]
        self.known = entries
        names = {run.run_id: label for label, run in self.runs.items()}
        items = [names[item] for entry in new for item in entry.items]
        check(
            sorted(items) == sorted(labels),
            f"make sweep submits {count_text(len(labels), 'run')}, {why}",
            printed,
        )
        return new

    def states(self) -> dict[str, tuple[str, str]]:
        """Label -> state and cause."""
        every = self.project.run_states(SWEEP)
        return {label: (run["state"], run["cause"]) for label, run in every.items()}

    def jobs(self) -> dict[str, str]:
        return {label: run["job"] for label, run in self.project.run_states(SWEEP).items()}

    def open_gate(self, opened: bool) -> None:
        if opened:
            self.project.gate_file.touch()
        else:
            self.project.gate_file.unlink(missing_ok=True)

    def stop_in_training(self, number: int, only: str = "") -> list[str]:
        """Stop the processes of so many runs in the middle of their training; return the labels."""
        caught: list[str] = []
        runs, jobs = self.runs, self.jobs()

        def stopped() -> bool:
            for label, run in runs.items():
                beat = run.heartbeat()
                wanted = label not in caught and only in {"", label} and len(caught) < number
                if wanted and beat and beat.status == "running" and beat.job == jobs[label]:
                    if not run.rows():
                        continue
                    os.kill(beat.pid, signal.SIGSTOP)
                    caught.append(label)
            return len(caught) == number

        self.project.wait_until(stopped)
        return caught

    def resume(self, labels: list[str]) -> None:
        for label in labels:
            if beat := self.runs[label].heartbeat():
                os.kill(beat.pid, signal.SIGCONT)


def hostile_shell(drill: Drill) -> None:
    """SLURM_MEM_PER_CPU, a foreign numpy, a greeting of sbatch, accounting denied."""
    labels = {f"seed {seed}" for seed in range(12)}
    printed = drill.type()
    denied = "Access/permission denied: the limits of your account and qos are not known"
    check(
        denied in printed, "make sweep says that sacctmgr is denied and limits are unknown", printed
    )
    drill.known = drill.project.ledger_entries(SWEEP)
    items = [item for entry in drill.known if entry.kind == "runs" for item in entry.items]
    check(len(items) == len(set(items)) == 12, "twelve runs are submitted, each once", items)
    check(set(drill.runs) == labels, "they are the twelve seeds", set(drill.runs))
    queued = set(drill.project.queued_jobs())
    check(
        {e.job for e in drill.known} == queued,
        "the ledger has SLURM's ids in spite of the banner",
        queued,
    )
    drill.sweep_must_submit(set(), "typed a second time")


def other_cluster(drill: Drill) -> None:
    """Type the same on the login node of another cluster, which shares this work folder."""
    job = drill.jobs()["seed 0"].split("_")[0]
    calls = drill.project.folder / "calls"
    path = drill.wrappers("other", OTHER_CLUSTER, job=job, calls=calls)
    printed = drill.type(PATH=path)
    check("nothing to submit" in printed, "another cluster submits nothing", printed)
    shown = drill.type("status", PATH=path)
    check("on cluster blankslate" in shown, "its status says where the jobs are", shown)
    cancelled = drill.type("cancel", PATH=path)
    check("jobs on cluster blankslate are not seen here" in cancelled, "its cancel, too", cancelled)
    check(not calls.exists(), "it calls neither sbatch nor scancel")


def other_user(drill: Drill) -> None:
    """Type the same as another user, at a site that shows jobs and at one that hides them."""
    for folder, _, files in os.walk(drill.project.folder):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            path.chmod(path.stat().st_mode | 0o666 | (path.stat().st_mode & 0o111 and 0o111))
    for what, path in {
        "shows": drill.environment["PATH"],
        "hides": drill.wrappers("hidden", HIDDEN_JOBS | {"sacctmgr": DENIED, "sacct": "exit 0\n"}),
    }.items():
        answer = as_nobody(drill, path)
        held = answer.code == 0 and "nothing to submit" in answer.out
        check(held, f"a second user submits nothing where SLURM {what} the jobs of others", answer)


def as_nobody(drill: Drill, path: str) -> CommandResult:
    sweep = drill.project.folder / f"configs/sweeps/{SWEEP}.yaml"
    place = ("--cluster", drill.profile, "--work", drill.project.work)
    # It may read everything, because Python may lie in a home folder.
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return run_command(
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reading),
        *(sys.executable, "-m", "jobs", "sweep", sweep, *place),
        cwd=SlurmProject.REPOSITORY,
        env={**os.environ, **drill.environment, "PATH": path},
        umask=0,
    )


def full_disk(drill: Drill) -> None:
    """The work folder is full while four runs train; later it is freed."""
    drill.open_gate(True)
    caught = drill.stop_in_training(AT_ONCE)
    filler = drill.project.work / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            say(f"the work folder is full: {error}")
    drill.resume(caught)
    drill.project.await_jobs()
    drill.open_gate(False)
    shown = drill.type("status")
    check("disk full" in shown, "status works on a full disk and tells it", shown)
    states = drill.states()
    causes = {cause for _, cause in states.values()}
    check(causes == {"disk full"}, "the cause of all twelve runs is the full disk", states)
    filler.unlink()
    drill.sweep_must_submit(set(drill.runs), "after the disk was freed")


def both_nodes(drill: Drill) -> None:
    """Each node fails once while runs train that SLURM does not requeue."""
    drill.open_gate(True)
    caught = drill.stop_in_training(AT_ONCE)
    drill.open_gate(False)
    jobs = drill.jobs()
    places = {label: node_of(jobs[label]) for label in caught}
    lost = {node: next(label for label in caught if places[label] == node) for node in NODES}
    for label in lost.values():
        scontrol("update", f"JobId={jobs[label]}", "Requeue=0")
    for node in NODES:
        scontrol("update", f"NodeName={node}", "State=DOWN", "Reason=drill")
    drill.project.wait_until(
        lambda: not {jobs[each] for each in lost.values()} & set(drill.project.queued_jobs())
    )
    bring_back_nodes()
    failed = ("failed", "node failure")
    drill.project.wait_until(lambda: {drill.states()[each] for each in lost.values()} == {failed})
    say("held: the cause of the two runs that were not requeued is the node")
    new = drill.sweep_must_submit(set(lost.values()), "after both nodes failed")
    check({e.exclude for e in new} == {(node,) for node in NODES}, "each on the other node", new)
    same_node_again(drill, lost["node1"])


def same_node_again(drill: Drill, label: str) -> None:
    """The run that lost node1 loses node2, too: no node is left that did not fail."""
    drill.open_gate(True)
    drill.stop_in_training(1, only=label)
    drill.open_gate(False)
    job = drill.jobs()[label]
    scontrol("update", f"JobId={job}", "Requeue=0")
    scontrol("update", f"NodeName={node_of(job)}", "State=DOWN", "Reason=drill")
    drill.project.wait_until(lambda: job not in drill.project.queued_jobs())
    bring_back_nodes()
    failed = ("failed", "node failure")
    drill.project.wait_until(lambda: drill.states()[label] == failed)
    (new,) = drill.sweep_must_submit({label}, "although it failed on both nodes of the partition")
    check(len(new.exclude) < len(NODES), "not every node is excluded", new.exclude)


def finish(drill: Drill, reference: subprocess.Popen[str], alone: SlurmProject) -> None:
    drill.open_gate(True)
    drill.project.wait_until(lambda: tend(drill), 900)
    states = drill.states()
    check({state for state, _ in states.values()} == {"finished"}, "all twelve runs finish", states)
    drill.sweep_must_submit(set(), "when all are finished")
    _, errors = reference.communicate()
    check(reference.returncode == 0, "the same sweep has run on this machine without SLURM", errors)
    ReferenceRuns(alone).assert_same_results(drill.runs)
    check(True, "all twelve have the same rows and hypotheses, bit for bit")


def tend(drill: Drill) -> bool:
    """Release jobs that SLURM holds after a failed launch; return whether no job is left."""
    queued = drill.project.queued_jobs()
    if held := [job for job, state in queued.items() if "held" in state]:
        run_command("scontrol", "release", ",".join(held))
    time.sleep(1)
    return not queued


def node_of(job: str) -> str:
    return run_command("squeue", "--noheader", f"--jobs={job}", "--format=%N").out.strip()


def bring_back_nodes() -> None:
    for node in NODES:  # for one that is up, SLURM refuses it
        run_command("scontrol", "update", f"NodeName={node}", "State=RESUME")


def scontrol(*words: str) -> None:
    answer = run_command("scontrol", *words)
    if answer.code != 0:
        raise SystemExit(f"scontrol {' '.join(words)}: {answer.errors}")


@contextmanager
def begun_reference(alone: SlurmProject) -> Iterator[subprocess.Popen[str]]:
    """Run the same sweep on this machine meanwhile, in a clean shell."""
    local = alone.write_local_profile()
    sweep = alone.folder / f"configs/sweeps/{SWEEP}.yaml"
    place = ("--cluster", local, "--work", alone.work)
    words = [sys.executable, "-m", "jobs", "sweep", *map(str, (sweep, *place))]
    with subprocess.Popen(
        words,
        cwd=SlurmProject.REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.terminate()  # it stops its own processes; after its end this does nothing


@contextmanager
def prepared(folder: Path) -> Iterator[Drill]:
    """A project whose work folder is a small disk, and a hostile shell."""
    project = SlurmProject(folder / "site", folder / "corpora")
    project.work.mkdir()
    run_command("mount", "-t", "tmpfs", "-o", f"size={DISK}", "drill", project.work)
    try:
        drill = Drill(project, {})
        foreign = folder / "foreign"
        foreign.mkdir()
        (foreign / "numpy.py").write_text("raise SystemExit('the foreign numpy')")
        path = drill.wrappers("bin", {"sbatch": BANNER, "sacctmgr": DENIED})
        drill.environment = {**SHELL, "PYTHONPATH": str(foreign), "PATH": path}
        yield drill
    finally:
        if ids := project.job_ids():
            run_command("scancel", *ids)
            project.await_jobs()
        bring_back_nodes()
        run_command("umount", project.work)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    folders = tempfile.TemporaryDirectory(prefix="blankslate-drill-")
    with hold_slurm(alone=True), folders as name:
        began = time.monotonic()
        folder = Path(name)
        folder.chmod(0o755)
        alone = SlurmProject(folder / "alone", folder / "corpora")
        with prepared(folder) as drill:
            hostile_shell(drill)
            with begun_reference(alone) as reference:
                for step in (other_cluster, other_user, full_disk, both_nodes):
                    say(f"-- {(step.__doc__ or '').strip()}")
                    step(drill)
                finish(drill, reference, alone)
    say(f"the drill held, in {(time.monotonic() - began) / 60:.1f} min")


if __name__ == "__main__":
    main()
