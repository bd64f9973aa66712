"""cluster-check: what is wrong is called WRONG, and no job is left behind."""

import json
from pathlib import Path

import pytest

from jobs.commands import parser
from jobs.commands.checking import cluster_check
from jobs.commands.checking.cluster_check import Probe
from jobs.node import checks
from jobs.profile import LocalProfile, SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm import sbatch
from jobs.slurm.client import QueuedJob
from jobs.sweep.folder import SweepFolder
from pipeline.files import InputError, write_json
from tests.jobs.conftest import FakeClock

PROFILE = SlurmProfile(
    scheduler="slurm",
    cpus=4,
    gpus=1,
    local_scratch_var="DISK",
    features=FeatureJobs(partition="cpu", cpus=2),
)
NOW = 1_700_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "work", "cluster-check")


def answer(folder: SweepFolder, **said) -> dict:
    right = {
        "host": "node7",
        "python": "3.11.9",
        "modules": [],
        "code": [f"{folder.code}/abc/pipeline/features/precompute.py"],
        "cpus": 4,
        "gpus": ["A40"],
        "gpu_problems": [],
        "packages": {},
        "scratch": "/local/7/",
        "temporary": "/local/7",
        "free_bytes": 2_000_000_000,
        "time": NOW,
    }
    return {**right, **said}


def wrong(findings) -> list[str]:
    return [finding.text for finding in findings if not finding.ok]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({}, ""),
        ({"gpus": []}, "GPUs: none; 1 requested; correct partition, gpus or gpu_type in "),
        (
            {"free_bytes": 900_000_000},
            "0.9 GB are free in the work folder; your quota may allow less",
        ),
        ({"cpus": 1}, "1 CPU available, 4 requested"),
        ({"packages": {"numpy": "1.0"}}, "packages: numpy 1.0, locked "),
        ({"gpu_problems": ["Tesla V100 has"]}, "GPU: Tesla V100 has"),
        (
            {"scratch": "", "temporary": "/shared"},
            "DISK is not set on node7: temporary files go to",
        ),
        (
            {"temporary": "/shared"},
            "DISK is /local/7/, which cannot be written: temporary files go",
        ),
        ({"code": ["/home/me/pipeline/features/precompute.py"]}, "code comes from /home/me"),
    ],
)
def test_what_a_node_lacks_is_wrong(folder, said, complaint):
    found = wrong(checks.check_node(answer(folder, **said), PROFILE, folder.work, folder.code))
    assert len(found) == bool(complaint)
    assert all(text.startswith(complaint) for text in found)


def test_a_profile_without_a_scratch_variable_gets_no_scratch_check(folder):
    for profile in (LocalProfile(), SlurmProfile(scheduler="slurm", device="cpu")):
        found = checks.check_node(answer(folder), profile, folder.work, folder.code)
        assert not any("temporary files" in finding.text for finding in found)


def test_a_profile_that_asks_for_no_gpu_needs_none(folder):
    for profile in (LocalProfile(), SlurmProfile(scheduler="slurm", device="cpu")):
        assert (
            wrong(checks.check_node(answer(folder, gpus=[]), profile, folder.work, folder.code))
            == []
        )


def test_the_partition_of_features_is_checked_against_what_features_request(folder):
    assert wrong(checks.check_feature_node(answer(folder, cpus=2, gpus=[]), PROFILE, folder)) == []
    found = wrong(checks.check_feature_node(answer(folder, cpus=1), PROFILE, folder))
    assert found == ["features: 1 CPU available, 2 requested"]
    found = wrong(checks.check_feature_node(answer(folder, scratch=""), PROFILE, folder))
    assert found == ["features: DISK is not set on node7: temporary files go to /local/7"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (-1, 1, "its clock is within 1.0 s of this one"),
        (-600, 1, "its clock is within 10 min 00 s of this one"),  # the job waited in the queue
        (-1, 40, "its clock is within 40 s of this one"),  # the file was seen late
        (31, 45, "its clock is 31 s behind this one"),
        (-90, -40, "its clock is 40 s ahead of this one"),
    ],
)
def test_a_clock_is_wrong_by_the_part_that_no_delay_explains(before, after, said):
    found = checks.check_clock(NOW, NOW + before, NOW + after)
    assert (found.text, found.ok) == (said, "within" in said)


@pytest.fixture
def probe(folder, monkeypatch, fake_slurm) -> Probe:
    for name in ("CHECK_POLL_INTERVAL_S", "SIGNAL_REPLY_TIMEOUT_S", "REQUEUE_TIMEOUT_S"):
        monkeypatch.setattr(cluster_check, name, 0.01)
    fake_slurm("scancel")
    folder.path.mkdir(parents=True)
    return Probe(folder.path / "answer-1.json", NOW, 0.001, "12")


def test_slurm_is_queried_as_rarely_as_the_profile_says(folder, monkeypatch, capsys):
    clock, asked, released = FakeClock(), [], []
    probe = Probe(folder.path / "answer-1.json", NOW, 70.0, "12")

    def queue() -> dict[str, QueuedJob]:
        asked.append(clock.now - 1000.0)
        if len(asked) == 3:
            write_json(probe.answer_path, {"host": "node7"})
        return {"12": QueuedJob("12", "PENDING", "Priority")}

    monkeypatch.setattr(cluster_check, "time", clock)
    monkeypatch.setattr(cluster_check.client, "squeue", queue)
    assert cluster_check._wait_for_answer(probe, folder) == {"host": "node7"}
    assert asked == [5.0, 75.0, 145.0]
    (line,) = capsys.readouterr().out.splitlines()  # the state has not changed since
    assert line == "job 12: pending other jobs come first (Priority)"
    began = clock.now
    cluster_check._wait_for_file(
        probe.requeued_path,
        200.0,
        probe.poll_interval_s,
        lambda: released.append(clock.now - began),
    )
    assert released == [70.0, 140.0]


def test_a_signal_that_does_not_arrive_is_told_from_a_requeue_that_does_not_work(probe, fake_slurm):
    (deaf,) = cluster_check._check_requeue(probe)
    assert not deaf.ok
    assert "no signal arrived" in deaf.text
    probe.signal_received_path.write_text(json.dumps(cluster_check.time.time() + 1e6))
    arrives, clock, requeue = cluster_check._check_requeue(probe)
    assert (arrives.ok, clock.ok, requeue.ok) == (True, False, False)
    assert "did not start again" in requeue.text
    released = fake_slurm("scontrol")
    cluster_check._check_requeue(probe)
    assert "update JobId=12 StartTime=now" in released.read_text()
    probe.requeued_path.write_text("1")
    assert [each.ok for each in cluster_check._check_requeue(probe)] == [True, False, True]


@pytest.mark.parametrize(
    ("setup", "loaded", "lacks"),
    [
        ((), [], ""),
        (("module purge; module load cuda/11.8 gcc  # both",), ["cuda/11.8", "gcc/9.3"], ""),
        (("ml cuda", "export A='module'"), ["gcc/9.3"], "modules: gcc/9.3; setup loads cuda"),
        (("module add cuda/12 && true",), ["cuda/11.8"], "modules: cuda/11.8; setup loads cuda/12"),
        (("module load cud",), ["cuda/11.8"], "modules: cuda/11.8; setup loads cud"),
    ],
)
def test_a_module_that_setup_could_not_load_is_wrong(folder, setup, loaded, lacks):
    profile = PROFILE.model_copy(update={"setup": setup})
    found = wrong(
        checks.check_node(answer(folder, modules=loaded), profile, folder.work, folder.code)
    )
    assert found == [lacks] * bool(lacks)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("PartitionTimeLimit", "never starts: minutes is above the partition's limit"),
        ("PartitionConfig", "never starts: no node of the partition has that many CPUs"),
    ],
)
def test_a_job_that_never_starts_is_not_awaited(folder, probe, fake_slurm, reason, said):
    fake_slurm("squeue", f"12|PENDING|{reason}|main|lab|normal|N/A|\n")
    (found,) = cluster_check._probe_results(probe, PROFILE, folder)
    assert (found.ok, said in found.text) == (False, True)


def test_a_job_that_ends_without_an_answer_is_a_finding_with_its_last_output(
    folder, probe, fake_slurm, monkeypatch
):
    monkeypatch.setattr(cluster_check, "FIRST_QUERY_DELAY_S", 0.1)
    monkeypatch.setattr(cluster_check, "FILE_VISIBILITY_TIMEOUT_S", 1.0)
    fake_slurm("squeue")
    (found,) = cluster_check._probe_results(probe, PROFILE, folder)
    assert found.text == (
        "job 12 ended without an answer: it left no output: do the nodes share "
        f"{folder.work}, and may they write there?"
    )
    folder.jobs.mkdir()
    output = folder.jobs / "12_0_log.out"
    output.write_text("much\n" * 100 + "execve(): /no/python: No such file\n")
    (found,) = cluster_check._probe_results(probe, PROFILE, folder)
    assert not found.ok
    assert found.text.endswith(f"much execve(): /no/python: No such file; see {output}")
    assert len(found.text) < 500 + len(str(output))


def test_ctrl_c_leaves_no_job_and_no_file(folder, probe, monkeypatch, fake_slurm):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(sbatch.Submission, "submit", lambda *_, **__: ["12"])
    cancelled = fake_slurm("scancel")

    def impatient(probe: Probe, _: SweepFolder) -> None:
        assert probe.poll_interval_s == 45.0
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster_check, "_wait_for_answer", impatient)
    with pytest.raises(KeyboardInterrupt):
        cluster_check._check_slurm(SlurmProfile(scheduler="slurm", poll_min_s=45), folder)
    assert cancelled.read_text() == "12\n"
    assert list(folder.path.glob("answer-*")) == []


@pytest.mark.parametrize("apart", [False, True])
def test_a_refusal_is_in_the_report_with_its_usual_cause(
    folder, tmp_path, monkeypatch, fake_slurm, apart
):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    fake_slurm("srun")
    fake_slurm("squeue")
    said = "sbatch: error: invalid partition specified: nowhere"
    fake_slurm("sbatch", complains=f"{said}\n", code=1)
    site = tmp_path / "site.yaml"
    site.write_text(
        "scheduler: slurm\npartition: nowhere\nmax_submit: 10\nmax_running: 5\n"
        "max_array_size: 9\nmax_minutes: 240\n"
        + ("features: {partition: elsewhere}\n" if apart else "")
    )
    assert parser.main(["cluster-check", str(site), "--work", str(folder.work)]) == 1
    report = (folder.path / "report.md").read_text()
    cause = "partition in the profile must be one that sinfo lists"
    assert f"- **wrong**: {site}: {said} — {cause}\n" in report
    assert (f"- **wrong**: features: {site}: {said}" in report) is apart
    assert "- ok: limits: 10 jobs that may be submitted now" in report
    assert "    partition: nowhere" in report
    assert list(folder.path.glob("answer-*")) == []


def test_a_job_that_answers_and_dies_is_in_the_report(probe, fake_slurm):
    fake_slurm("scancel", complains="Invalid job id specified", code=1)
    (finding,) = cluster_check._check_requeue(probe)
    assert not finding.ok
    assert "no signal could be sent to job 12: scancel: Invalid job id" in finding.text


def test_a_job_may_not_check_the_cluster(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(InputError, match="inside job 7, and a batch job may not submit jobs"):
        cluster_check._check_slurm(PROFILE, folder)
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: slurm\n")
    assert parser.main(["cluster-check", str(site), "--work", str(tmp_path / "work")]) == 2
    assert "inside job 7" in capsys.readouterr().err


@pytest.mark.parametrize(("second_ok", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_something_is_wrong(
    tmp_path, monkeypatch, capsys, second_ok, code
):
    findings = [checks.CheckResult(True, "4 CPUs"), checks.CheckResult(second_ok, "2 GPUs")]
    monkeypatch.setattr(cluster_check, "_check_this_machine", lambda *_: findings)
    path = tmp_path / "local.yaml"
    path.write_text("scheduler: local\n")
    assert parser.main(["cluster-check", str(path), "--work", str(tmp_path / "work")]) == code
    first, second, report = capsys.readouterr().out.splitlines()
    assert first == "ok      4 CPUs"
    assert second == ("ok      2 GPUs" if second_ok else "WRONG   2 GPUs")
    assert "2 GPUs" in Path(report.rpartition(": ")[2]).read_text("utf-8")


def test_the_packages_of_a_node_are_compared_with_the_lock(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "numpy==2.3.0 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
        "numpy==2.4.0 ; python_full_version >= '3.12' \\\n    --hash=sha256:1\n"
        "jinja2==3.1.6 \\\n    --hash=sha256:2\ntorch==2.11.0 \\\n    --hash=sha256:3\n"
    )
    same = {"numpy": "2.4.0", "Jinja2": "3.1.6", "torch": "2.11.0+cu126", "other": "1"}
    assert checks.check_packages(same, lock).text == "packages: 3 packages in the locked versions"
    found = checks.check_packages({**same, "numpy": "1.26.4"}, lock)
    assert not found.ok
    assert found.text.startswith("packages: numpy 1.26.4, locked 2.3.0 or 2.4.0; make setup ")
    assert checks.check_packages(same, tmp_path / "none").ok
