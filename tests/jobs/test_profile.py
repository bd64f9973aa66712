"""Profiles: strict, each of cluster/ valid, the work folder found or refused in one line."""

import re
from pathlib import Path

import pytest

from jobs import profile
from jobs.profile import LocalProfile, SlurmProfile, load_profile
from pipeline.files import InputError

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


def written(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "path", sorted(CLUSTER.glob("**/*.yaml")), ids=lambda p: str(p.relative_to(CLUSTER))
)
def test_each_profile_is_valid_and_says_where_its_facts_come_from_and_when(path: Path):
    assert isinstance(load_profile(path), LocalProfile | SlurmProfile)
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    header = " ".join(line.lstrip("# ") for line in comments)
    facts = re.search(r"Facts: (.*)", header)
    if path.name not in {"local.yaml", "slurm.yaml"}:  # which describe no site
        assert facts
        assert re.search(r"\b20\d\d\b", facts[1].split(". ")[0])


def test_the_template_names_every_field_with_its_default():
    assert (
        load_profile(CLUSTER / "slurm.yaml").model_dump()
        == SlurmProfile(scheduler="slurm").model_dump()
    )
    text = (CLUSTER / "slurm.yaml").read_text()
    fields = [name for kind in (SlurmProfile, profile.FeatureJobs) for name in kind.model_fields]
    assert [name for name in fields if f"{name}:" not in text] == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("scheduler: slurm\nacount: ai", "acount: unknown key; did you mean 'account'?"),
        ("scheduler: local\nslot: 2", "slot: unknown key; did you mean 'slots'?"),
        ("scheduler: local\npartition: ai", "partition: unknown key"),
        ("scheduler: pbs", "scheduler: 'pbs' — choose local or slurm"),
        ("scheduler: [slurm]", "scheduler: ['slurm'] — choose local or slurm"),
        ("scheduler: slurm\nmax_submit: 0", "max_submit"),
        (
            "scheduler: slurm\nmax_submit: yes",
            "max_submit: True — must not be yes, no, true or false",
        ),
        ("scheduler: slurm\nfeatures: {cpus: on}", "features.cpus: True — must not be yes, no,"),
        ("slots: 100000000", "slots: 100000000 — input should be less than or equal to 4096"),
        ("scheduler: slurm\nruns_per_gpu: 5000", "runs_per_gpu: 5000 — input should be less"),
        ("slots: true", "slots: True — must not be yes, no, true or false"),
        ("scheduler: slurm\npartition: ''", "partition: '' — string should match pattern"),
        ("scheduler: slurm\naccount: my lab", "account: 'my lab' — string should match pattern"),
        ("scheduler: slurm\nqos: |\n  high\n", "qos: 'high\\n' — string should match"),
        ("scheduler: slurm\nfeatures: {constraint: a | b}", "features.constraint: 'a | b' — "),
        ("scheduler: slurm\npython: ''", "python: '' — string should match pattern"),
        ("scheduler: slurm\nfeatures: {cpu: 1}", "features.cpu: unknown key; did you mean 'cpus'?"),
        ("device: gpu", "device: 'gpu'"),
        ("workers: 2 each", "workers: '2 each' — a number up to 256, auto, or 1 to 8 as in"),
        ("workers: 257", "workers: 257 — a number up to 256, auto, or 1 to 8 as in"),
        ("resident_gb: -1", "resident_gb: "),
        (
            "scheduler: slurm\ncpus: 8\nmin_cpus_per_gpu: 10",
            "8 for 1 GPU, and min_cpus_per_gpu is 10; raise cpus to 10 or more",
        ),
        (
            "scheduler: slurm\ncpus: 8\nmax_cpus_per_gpu: 5",
            "8 for 1 GPU, and max_cpus_per_gpu is 5; lower cpus to 5 or less",
        ),
        ("scheduler: slurm\nlocal_scratch_var: 'A;rm'", "'A;rm' — string should match pattern"),
        ('scheduler: slurm\nlocal_scratch_var: "A\\n"', "string should match pattern"),
        ("scheduler: slurm\nlocal_scratch_var: $A", "'$A' — string should match pattern"),
        (
            "scheduler: slurm\nmemory_gb: null",
            "null, and so is default_memory_per_cpu_gb; set one of them",
        ),
        ("scheduler: slurm\nruns_per_task: 0", "runs_per_task"),
        ("scheduler: slurm\nsbatch: {partition: a}", "partition: set partition of the profile"),
        ("scheduler: slurm\nsbatch: {time: 5}", "time: set minutes of the profile instead"),
        ("scheduler: slurm\nsbatch: {mem-per-gpu: 5}", "set memory_gb and memory_style of the"),
        ("scheduler: slurm\nsbatch: {array: 0-3}", "array: is set for each job; leave it out"),
        ("scheduler: slurm\nsbatch: {mail_type: END}", "is no long option of sbatch, such as mail"),
        ("scheduler: slurm\nsbatch: {exclusive: false}", "exclusive: False is no value; true is"),
        ("scheduler: slurm\nsbatch: {gres: 'shard:1'}", "gres: gpus requests gres already; set "),
        ("scheduler: slurm\nfeatures: {sbatch: {ntasks: 2}}", "ntasks: is set for each job"),
        ("scheduler: slurm\npreemption: kill", "preemption: 'kill'"),
        ("scheduler: slurm\ngrace_s: -1", "grace_s: -1"),
        ("scheduler: slurm\nuser_signal_on_preempt: maybe", "user_signal_on_preempt: 'maybe'"),
    ],
)
def test_a_wrong_profile_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as refusal:
        load_profile(path)
    assert str(path) in str(refusal.value)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("word", "read"), [("yes", True), ("no", False), ("null", None)])
def test_a_word_that_yaml_takes_for_another_is_understood(tmp_path: Path, word: str, read: object):
    text = f"scheduler: slurm\npreemption: none\nuser_signal_on_preempt: {word}\n"
    site = load_profile(written(tmp_path, text))
    assert isinstance(site, SlurmProfile)
    assert (site.preemption, site.user_signal_on_preempt) == ("none", read)


def test_a_profile_knows_its_file(tmp_path: Path):
    path = written(tmp_path, "scheduler: local")
    assert load_profile(path).path == path
