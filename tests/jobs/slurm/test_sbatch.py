"""Submission through submitit: the script that sbatch gets, refusals, requeues."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from submitit.core.job_environment import SignalHandler
from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import SlurmJobEnvironment

from jobs.environment import THREAD_VARIABLES
from jobs.exit_codes import DONE, FAILED, REQUEUE, STOPPED
from jobs.launch import entrypoint
from jobs.node import requeue, task_file
from jobs.node.requeue import MAX_STALLED_ATTEMPTS
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from jobs.profile import SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm import resources, sbatch
from jobs.slurm.client import sweep_tag
from jobs.slurm.resources import ResourceOverride
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder


@pytest.fixture
def submission(fake_slurm, tmp_path: Path):
    fake_slurm("srun")
    fake_slurm("sbatch", "Submitted batch job 42\n")

    def make(**settings) -> sbatch.Submission:
        profile = SlurmProfile(scheduler="slurm", **settings)
        return sbatch.Submission(
            profile=profile,
            name="spectrum",
            folder=tmp_path / "jobs",
            code=tmp_path / "code dir",
            execute=entrypoint.run_in_slurm,
        )

    return make


def script_of(submission: sbatch.Submission) -> str:
    (script,) = submission.folder.glob("42_submission.sh")
    return script.read_text()


def submit(submission: sbatch.Submission, tasks: int = 3, **options) -> list[str]:
    files = [submission.folder / f"task-{index}.json" for index in range(tasks)]
    parameters = resources.run_parameters(submission.profile)
    return submission.submit(files, parameters, **options)


def test_an_array_has_a_job_id_per_task(submission):
    assert submit(submission()) == ["42_0", "42_1", "42_2"]


def test_an_array_of_one_is_a_plain_job(submission):
    assert submit(submission(), tasks=1) == ["42"]


def test_the_profile_has_precedence_over_a_variable_of_sbatch(submission, tmp_path, monkeypatch):
    variables = {
        "SBATCH_PARTITION": "other", "SBATCH_ACCOUNT": "other", "SBATCH_TIMELIMIT": "1",
        "SBATCH_EXPORT": "NONE", "SBATCH_RESERVATION": "course",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    seen = tmp_path / "seen"
    (tmp_path / "bin" / "sbatch").write_text(
        f'#!/bin/sh\nexport -p | while read -r line; do echo "$line"; done > {seen}\n'
        "echo Submitted batch job 42\n"
    )
    submit(submission(partition="ai"))
    left = [name for name in variables if f"export {name}=" in seen.read_text()]
    assert left == ["SBATCH_ACCOUNT", "SBATCH_RESERVATION"]  # the profile leaves these null
    assert {name: os.environ[name] for name in variables} == variables


def test_no_wckey_is_sent_unless_one_is_set(submission):
    submit(submission())
    assert "--wckey" not in script_of(submission())
    submit(submission(wckey="thesis"))
    assert "#SBATCH --wckey=thesis" in script_of(submission())


def test_the_script_requests_what_the_profile_says(submission):
    made = submission(
        partition="ai",
        account="ai",
        qos="ai",
        constraint="tesla_v100",
        gpus=2,
        gpu_type="tesla_v100",
        cpus=5,
        memory_gb=20,
        minutes=120,
        setup=["module load cuda/11.8"],
    )
    submit(made, throttle=2, after=["7", "9_3"])
    lines = script_of(made).splitlines()
    for line in (
        "#SBATCH --partition=ai",
        "#SBATCH --account=ai",
        "#SBATCH --qos=ai",
        "#SBATCH --constraint=tesla_v100",
        "#SBATCH --gres=gpu:tesla_v100:2",
        "#SBATCH --cpus-per-task=5",
        "#SBATCH --mem=20480MB",
        "#SBATCH --time=120",
        "#SBATCH --array=0-2%2",
        "#SBATCH --dependency=afterany:7:9_3",
        "#SBATCH --job-name=blankslate-spectrum",
        "module load cuda/11.8",
        "export OMP_NUM_THREADS=5",
        "export PYTHONSAFEPATH=1",
    ):
        assert line in lines
    assert lines.index("module load cuda/11.8") < lines.index("export OMP_NUM_THREADS=5")
    assert any(line.startswith("srun ") and "--cpus-per-task=5" in line for line in lines)


def test_features_have_one_thread_whatever_their_cpus(submission):
    """With two threads the last bits of a sum, and so the bytes of a shard, would differ."""
    made = submission(features={"cpus": 4, "memory_gb": 8, "minutes": 30})
    made.submit([Path("a.json")], resources.feature_parameters(made.profile))
    lines = script_of(made).splitlines()
    assert "#SBATCH --cpus-per-task=4" in lines
    assert {line for line in lines if "_NUM_THREADS" in line} == {
        f"export {name}=1" for name in THREAD_VARIABLES
    }


def test_the_snapshot_is_first_on_the_path_even_with_a_space_in_its_name(submission, tmp_path):
    made = submission()
    submit(made)
    assert f"export PYTHONPATH='{tmp_path / 'code dir'}" in script_of(made)


@pytest.mark.parametrize(
    ("style", "line"),
    [
        ("gres", "#SBATCH --gres=gpu:1"),
        ("gpus_per_node", "#SBATCH --gpus-per-node=1"),
        ("gpus", "#SBATCH --gpus=1"),
    ],
)
def test_a_gpu_is_requested_in_the_style_of_the_site(submission, style: str, line: str):
    made = submission(gpu_request_style=style)
    submit(made)
    assert line in script_of(made).splitlines()


def test_jobs_of_features_request_no_gpu_and_may_have_their_own_partition():
    own = FeatureJobs(partition="cpu", cpus=1, memory_gb=2, minutes=30)
    parameters = resources.feature_parameters(
        SlurmProfile(scheduler="slurm", partition="ai", features=own)
    )
    assert parameters["partition"] == "cpu"
    assert "gres" not in parameters
    shared = resources.feature_parameters(SlurmProfile(scheduler="slurm", partition="ai"))
    assert shared["partition"] == "ai"


@pytest.mark.parametrize(("minutes", "seconds"), [(3, 18), (10, 60), (15, 90), (7200, 90)])
def test_the_warning_of_a_short_limit_does_not_arrive_before_python_has_started(
    minutes: int, seconds: int
):
    parameters = resources.run_parameters(SlurmProfile(scheduler="slurm", minutes=minutes))
    assert parameters["signal_delay_s"] == seconds
    assert 60 * minutes - seconds - 60 >= 100  # seconds that Python has to start


@pytest.mark.parametrize("tasks", [1, 3])
def test_submitit_gets_the_time_limit_and_does_not_take_a_preemption_for_a_timeout(
    submission, tasks: int
):
    """Without the limit submitit counts a preemption after 5 minutes as one of few timeouts.

    If the limit is below 10 minutes, it counts every preemption as one: hence MAX_REQUEUES.
    """
    made = submission(minutes=240)
    submit(made, tasks=tasks)
    pickles = sorted(made.folder.glob("42*_submitted.pkl"))
    assert len(pickles) == tasks
    for path in pickles:
        held = DelayedSubmission.load(path)
        assert (held._timeout_min, held._timeout_countdown) == (240, sbatch.MAX_REQUEUES)
        handler = SignalHandler(SlurmJobEnvironment(), None, held)
        for minutes, timed_out in ((5, False), (150, False), (230, True)):
            handler._start_time = time.time() - 60 * minutes
            assert handler.has_timed_out() is timed_out


@pytest.mark.parametrize("tasks", [1, 3])
def test_another_python_of_the_profile_is_used_for_one_task_and_for_many(submission, tasks: int):
    made = submission(python="apptainer exec image.sif python3")
    submit(made, tasks=tasks)
    assert "apptainer exec image.sif python3 -u -m submitit.core._submit" in script_of(made)


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_refusal_is_one_line_with_its_usual_cause_and_leaves_no_files(
    submission, fake_slurm, tasks: int
):
    fake_slurm(
        "sbatch",
        complains="sbatch: error: AssocMaxSubmitJobLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy\n",
        code=1,
    )
    made = submission(max_submit=300)
    with pytest.raises(InputError) as refusal:
        submit(made, tasks=tasks)
    assert "AssocMaxSubmitJobLimit; sbatch: error: Batch job" in str(refusal.value)
    assert "max_submit in the profile is above what the site allows" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(made.folder.iterdir()) == []
    with pytest.raises(InputError, match="could not be read: set max_submit in the profile to a"):
        submit(submission(max_submit="auto"), tasks=tasks)


def test_without_slurm_the_message_says_where_to_type_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    made = sbatch.Submission(
        profile=SlurmProfile(scheduler="slurm"),
        name="s",
        folder=tmp_path / "jobs",
        code=tmp_path,
        execute=entrypoint.run_in_slurm,
    )
    with pytest.raises(InputError, match="sbatch is not on PATH: type this on a login node"):
        submit(made)


def test_an_account_that_does_not_go_with_the_partition_is_named_as_the_cause(
    submission, fake_slurm
):
    message = "Invalid account or account/partition combination specified"
    fake_slurm("sbatch", complains=f"sbatch: error: {message}\n", code=1)
    with pytest.raises(InputError, match="account and partition in the profile must be a pair"):
        submit(submission())


def test_a_busy_controller_is_retried_and_a_job_that_it_accepted_anyway_is_cancelled(
    submission, fake_slurm, tmp_path
):
    calls = fake_slurm("sbatch", complains="sbatch: error: Socket timed out on send/recv", code=1)
    cancelled = fake_slurm("scancel")
    made = submission()
    fake_slurm("squeue", f"41_0|PENDING|None|main|lab|normal|N/A|{sweep_tag(made.folder)}0\n")
    with pytest.raises(InputError, match=r"Socket timed out on send/recv$"):
        submit(made)
    assert calls.read_text().count("\n") == 3
    assert not cancelled.exists()  # the tag is another submission's
    assert list(made.folder.iterdir()) == []

    # The first call times out, but SLURM has accepted its job, which has the tag of that call.
    script = tmp_path / "bin" / "sbatch"
    script.write_text(
        "#!/bin/sh\n"
        f"if [ -e {tmp_path}/second ]; then echo Submitted batch job 42; exit 0; fi\n"
        f": > {tmp_path}/second\n"
        "while read -r line; do case $line in *--comment=*) mark=${line#*--comment=};; esac; done"
        ' < "$1"\n'
        f'echo "41_0|PENDING|None|main|lab|normal|N/A|$mark" > {tmp_path}/answer\n'
        "echo 'sbatch: error: Socket timed out on send/recv' >&2; exit 1\n"
    )
    (tmp_path / "bin" / "squeue").write_text(
        f'#!/bin/sh\nwhile read -r line; do echo "$line"; done < {tmp_path}/answer\n'
    )
    assert submit(made) == ["42_0", "42_1", "42_2"]
    assert cancelled.read_text() == "41\n"


def test_a_refusal_leaves_what_other_jobs_wrote_meanwhile(submission, tmp_path):
    made = submission()
    log = made.folder / "41_0_0_log.out"
    (tmp_path / "bin" / "sbatch").write_text(
        f"#!/bin/sh\n: > {log}\necho 'sbatch: error: Invalid qos specification' >&2; exit 1\n"
    )
    with pytest.raises(InputError, match="Invalid qos"):
        submit(made)
    assert list(made.folder.iterdir()) == [log]


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("Invalid generic resource (gres) specification", "gpu_type in the profile"),
        ("Invalid wckey specification", "the site wants wckey in the profile"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "minutes in the"),
        ("Invalid qos specification", "qos in the profile must be one that you may use"),
        ("Invalid job array specification", "max_array_size in the profile"),
        ("Invalid feature specification", "constraint in the profile"),
    ],
)
def test_a_job_that_sbatch_can_never_accept_is_submitted_once(
    submission, fake_slurm, message, cause
):
    calls = fake_slurm("sbatch", complains=f"sbatch: error: {message}\n", code=1)
    fake_slurm("squeue")
    with pytest.raises(InputError, match=f"{re.escape(message)} — .*{cause}"):
        submit(submission())
    assert calls.read_text().count("\n") == 1


def test_memory_may_be_requested_per_cpu(submission):
    made = submission(memory_style="mem_per_cpu", memory_gb=20, cpus=8)
    submit(made)
    assert "#SBATCH --mem-per-cpu=2560MB" in script_of(made).splitlines()
    assert "--mem=" not in script_of(made)


@pytest.mark.parametrize("style", ["mem", "mem_per_cpu"])
def test_a_small_request_is_not_rounded_to_zero(style):
    """`--mem=0` requests all memory of the node."""
    made = SlurmProfile(scheduler="slurm", memory_style=style, memory_gb=0.0004)
    assert resources.run_parameters(made)[style] == "1MB"


@pytest.mark.parametrize(
    ("style", "line"), [("mem", "--mem=10240MB"), ("mem_per_cpu", "--mem-per-cpu=2560MB")]
)
def test_the_default_of_the_site_is_requested_if_the_profile_has_no_memory(submission, style, line):
    site = {"memory_gb": None, "default_memory_per_cpu_gb": 2.5, "cpus": 4}
    made = submission(**site, memory_style=style)
    submit(made)
    assert f"#SBATCH {line}" in script_of(made).splitlines()


@pytest.mark.parametrize(
    ("code", "output", "requeued"),
    [
        (REQUEUE, "PreemptTime=None", True),
        (STOPPED, "JobState=RUNNING PreemptTime=2026-01-01T00:00:00", True),
        (STOPPED, "JobState=COMPLETING Reason=TimeLimit PreemptTime=None", True),
        (STOPPED, "JobState=COMPLETING Reason=None PreemptTime=None", False),  # a person cancelled
        (DONE, "PreemptTime=2026-01-01T00:00:00", False),
        (FAILED, "PreemptTime=2026-01-01T00:00:00", False),
    ],
)
def test_in_a_container_the_batch_script_requeues_the_job(
    submission, fake_slurm, code, output, requeued
):
    made = submission(python="apptainer exec image.sif python3", requeue_from="batch")
    submit(made)
    lines = script_of(made).splitlines()
    step = next(number for number, line in enumerate(lines) if line.startswith("srun "))
    assert f"export {resources.REQUEUE_FROM_BATCH_VARIABLE}=1" in lines[:step]
    fake_slurm("srun", code=code)
    calls = fake_slurm("scontrol", output)
    path = os.environ["PATH"] + os.pathsep + os.defpath
    here = {
        "PATH": path,
        "SLURM_JOB_ID": "44",
        "SLURM_ARRAY_JOB_ID": "42",
        "SLURM_ARRAY_TASK_ID": "2",
    }
    script = made.folder / "42_submission.sh"
    ended = subprocess.run(["/bin/bash", script], env={**os.environ, **here}, check=False)
    assert ended.returncode == (REQUEUE if requeued else code)
    called = calls.read_text() if calls.exists() else ""
    assert ("requeue 42_2" in called) is requeued


@pytest.fixture
def requeue_signals(monkeypatch):
    """Yield the signals for which submitit would requeue the job, sent to this process."""
    received: list[int] = []
    former = signal.signal(signal.SIGUSR2, lambda number, _: received.append(number))
    monkeypatch.delenv(resources.REQUEUE_FROM_BATCH_VARIABLE, raising=False)
    yield received
    signal.signal(signal.SIGUSR2, former)


@pytest.fixture
def task(tmp_path):
    """Return the file of a task with one run."""
    made = RunTask(work=str(tmp_path), runs=(Run("a", "mel-0"),), device="cpu", threads=1)
    return task_file.write_task(made, tmp_path / "tasks")


@pytest.fixture
def run_job_with_signals(monkeypatch, task, requeue_signals):
    """Return `run_job_with_signals(*signals)`: the exit code of a job whose run gets them."""
    to_send: list[signal.Signals] = []

    def execute(task: Path, stop: StopRequest) -> int:
        for number in to_send:
            os.kill(os.getpid(), number)
            while stop.signal != number:
                time.sleep(0.01)
        return STOPPED

    def run_job(*signals: signal.Signals) -> int:
        to_send[:] = signals
        with pytest.raises(SystemExit) as ended:
            sbatch.TaskRunner(entrypoint.run_in_slurm)(str(task))
        return int(ended.value.code or 0)

    monkeypatch.setattr(entrypoint, "execute_task", execute)
    return run_job


UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR2")


@UNIX
@pytest.mark.parametrize(
    ("reason", "requeued"), [("Reason=TimeLimit", True), ("Reason=None PreemptTime=None", False)]
)
def test_the_time_limit_and_a_cancellation_are_distinguished_while_a_run_saves(
    fake_slurm, run_job_with_signals, requeue_signals, reason, requeued
):
    calls = fake_slurm("scontrol", f"JobId=7 JobState=COMPLETING {reason}")
    assert run_job_with_signals(signal.SIGUSR2, signal.SIGTERM) == STOPPED
    assert bool(requeue_signals) is requeued
    assert run_job_with_signals(signal.SIGTERM, signal.SIGUSR2) == STOPPED
    assert requeue_signals[requeued:] == [signal.SIGUSR2]
    assert calls.read_text().count("\n") == 1  # SIGUSR2 needs no query


@UNIX
def test_a_requeue_that_is_refused_is_reported_and_the_run_counts_as_stopped(
    monkeypatch, run_job_with_signals, requeue_signals, capsys
):
    def refuse(*_: object) -> None:
        raise subprocess.CalledProcessError(1, "scontrol requeue 7")

    signal.signal(signal.SIGUSR2, refuse)
    assert run_job_with_signals(signal.SIGUSR2) == STOPPED
    assert "saved, but not requeued" in capsys.readouterr().out
    monkeypatch.setenv(resources.REQUEUE_FROM_BATCH_VARIABLE, "1")
    assert run_job_with_signals(signal.SIGUSR2) == REQUEUE


@UNIX
@pytest.mark.parametrize(
    "how",
    [
        ("Reason=None PreemptTime=None", "timeout"),  # after the warning
        ("Reason=TimeLimit PreemptTime=None", "timeout"),
        ("Reason=None PreemptTime=2026-11-25T12:00:00", "preemption"),
    ],
)
def test_the_third_attempt_without_progress_requests_no_requeue(
    fake_slurm, run_job_with_signals, requeue_signals, task, how
):
    output, cause = how
    fake_slurm("scontrol", f"JobId=7 {output}")
    for _ in range(MAX_STALLED_ATTEMPTS - 1):
        assert run_job_with_signals(signal.SIGUSR2) == STOPPED
    assert len(requeue_signals) == MAX_STALLED_ATTEMPTS - 1
    assert run_job_with_signals(signal.SIGUSR2) == FAILED
    assert len(requeue_signals) == MAX_STALLED_ATTEMPTS - 1
    assert RunFolder(task.parents[1] / "runs" / "a").failure().cause == cause


@UNIX
def test_a_cancelled_job_counts_as_stopped_not_as_given_up(fake_slurm, run_job_with_signals, task):
    fake_slurm("scontrol", "JobId=7 Reason=None PreemptTime=None")
    for _ in range(MAX_STALLED_ATTEMPTS):
        assert run_job_with_signals(signal.SIGTERM) == STOPPED
    assert RunFolder(task.parents[1] / "runs" / "a").failure() is None


@UNIX
def test_a_task_whose_earlier_attempts_were_all_killed_is_not_started_again(
    fake_slurm, run_job_with_signals, task
):
    for _ in range(MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)  # and then it is killed
    assert run_job_with_signals() == FAILED


@pytest.fixture
def on_the_node(submission, tmp_path):
    """Return `on_the_node(variables)`: the environment of Python in a job on a node with them."""

    def run(variables: dict[str, str], **settings) -> dict[str, str]:
        made = submission(**settings)
        (tmp_path / "bin" / "srun").write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n")
        text = made.script(1, resources.run_parameters(made.profile), None)
        path = os.environ["PATH"] + os.pathsep + os.defpath
        subprocess.run(["/bin/bash", "-c", text], env={"PATH": path, **variables}, check=True)
        lines = (tmp_path / "seen").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return run


@pytest.mark.parametrize(
    ("there", "temporary"),
    [
        ({"SLURM_TMPDIR": "/local/job 7", "TMPDIR": "/shared"}, "/local/job 7"),
        ({"TMPDIR": "/shared"}, "/shared"),
        ({"SLURM_TMPDIR": "", "TMPDIR": "/shared"}, "/shared"),
        ({}, None),
    ],
)
def test_temporary_files_go_to_the_local_disk_if_the_node_names_it(on_the_node, there, temporary):
    assert on_the_node(there, local_scratch_var="SLURM_TMPDIR").get("TMPDIR") == temporary
    assert on_the_node(there).get("TMPDIR") == there.get("TMPDIR")


def test_a_setup_line_of_the_profile_may_name_the_local_disk(on_the_node):
    setup = ["export DISK=/local/7"]
    assert on_the_node({}, local_scratch_var="DISK", setup=setup)["TMPDIR"] == "/local/7"


@pytest.mark.parametrize("internet", [True, None, False])
def test_trackers_stay_in_the_work_folder_where_nodes_have_no_internet(on_the_node, internet):
    online = {"WANDB_MODE": "online", "MLFLOW_TRACKING_URI": "https://mlflow.example"}
    seen = on_the_node(online, internet_on_compute=internet)
    left = {name: seen[name] for name in online if name in seen}
    assert left == ({"WANDB_MODE": "offline"} if internet is False else online)
    file = {"MLFLOW_TRACKING_URI": "sqlite:////home/me/mlflow.db"}
    assert file.items() <= on_the_node(file, internet_on_compute=internet).items()


def test_the_script_can_be_read_before_it_is_submitted(submission, fake_slurm):
    calls = fake_slurm("sbatch")
    made = submission()
    text = made.script(3, resources.run_parameters(made.profile, 240), 2)
    assert "#SBATCH --array=0-2%2" in text.splitlines()
    assert "#SBATCH --time=240" in text.splitlines()
    assert not calls.exists()
    assert not made.folder.exists()


@pytest.mark.parametrize(
    ("style", "memory"), [("mem", {"mem": "33280MB"}), ("mem_per_cpu", {"mem_per_cpu": "16640MB"})]
)
def test_an_override_changes_only_memory_and_nodes(style, memory):
    profile = SlurmProfile(scheduler="slurm", memory_style=style)
    parameters = resources.run_parameters(profile)
    changed = resources.apply_override(
        parameters, ResourceOverride(32.5, ("node1", "node2")), profile
    )
    assert changed == {**parameters, **memory, "exclude": "node1,node2"}
    assert resources.apply_override(parameters, ResourceOverride(), profile) == parameters


@pytest.mark.parametrize(
    "printed",
    [
        "--> job 3 of 5 allowed\nSubmitted batch job 42\n",
        "Submitted batch job 42 on cluster gpu\n--> job 3 of 5 allowed\n",
        "42\n",
        "42;gpu\n",
    ],
)
def test_the_job_is_found_whatever_else_sbatch_prints(submission, fake_slurm, printed):
    fake_slurm("squeue")
    fake_slurm("sbatch", printed)
    assert submit(submission(), tasks=1) == ["42"]


def test_a_job_without_an_id_in_the_output_is_found_by_its_own_mark(
    submission, fake_slurm, tmp_path, monkeypatch
):
    monkeypatch.setattr("secrets.token_hex", lambda *_: "abcd1234")
    made = submission()
    mark = sweep_tag(made.folder) + "abcd1234"
    fake_slurm("sbatch", "--> 3 jobs\n7\n")
    fake_slurm(
        "squeue",
        f"41_0|PENDING|None|main|lab|normal|N/A|{sweep_tag(made.folder)}other\n"
        f"42_0|PENDING|None|main|lab|normal|N/A|{mark}\n"
        f"42_1|PENDING|None|main|lab|normal|N/A|{mark}\n",
    )
    assert submit(made, tasks=2) == ["42_0", "42_1"]


def test_an_output_without_any_job_is_refused_and_names_what_was_printed(submission, fake_slurm):
    fake_slurm("squeue")
    fake_slurm("sbatch", "welcome\n")
    with pytest.raises(InputError, match="no job id in what it printed: welcome"):
        submit(submission())


OPTIONS = {"mail-type": "END,FAIL", "nice": 100, "exclusive": True, "gpu-bind": "none"}


def test_options_of_the_profile_are_passed_through_and_those_for_gpus_to_runs_only(submission):
    made = submission(sbatch={**OPTIONS, "exclude": "node9"})
    made.submit(
        [Path("a.json")],
        resources.apply_override(
            resources.run_parameters(made.profile),
            ResourceOverride(exclude=("node1",)),
            made.profile,
        ),
    )
    lines = script_of(made).splitlines()
    wanted = ["--mail-type=END,FAIL", "--nice=100", "--exclusive", "--exclude=node9,node1"]
    assert {f"#SBATCH {each}" for each in [*wanted, "--gpu-bind=none"]} <= set(lines)
    assert "#SBATCH --requeue" in lines
    features = resources.feature_parameters(made.profile)["additional_parameters"]
    assert features["mail-type"] == "END,FAIL"
    assert "gpu-bind" not in features
    own = submission(sbatch=OPTIONS, features={"sbatch": {"nice": 5}})
    features = resources.feature_parameters(own.profile)["additional_parameters"]
    assert features == {"requeue": True, "nice": 5}


def test_memory_is_requested_per_gpu_where_the_site_wants_that(submission):
    made = submission(gpus=2, memory_gb=30, memory_style="mem_per_gpu")
    more = resources.apply_override(
        resources.run_parameters(made.profile), ResourceOverride(60.0), made.profile
    )
    made.submit([Path("a.json")], more)
    lines = script_of(made).splitlines()
    assert "#SBATCH --mem-per-gpu=30720MB" in lines
    assert not any(line.startswith("#SBATCH --mem=") for line in lines)
    assert resources.feature_parameters(made.profile)["mem"] == "4096MB"
