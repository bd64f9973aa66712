"""Limits: each limit counts its own jobs; a number in the profile replaces SLURM's."""

import getpass
import time
from pathlib import Path

import pytest

from jobs.profile import SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm import limits, site_rules
from jobs.slurm.client import QueuedJob, SchedulerError
from pipeline.files import InputError

CONFIG = "ClusterName = here\nMaxArraySize            = 8\nMaxJobCount = 10000\n"
PARTITIONS = (
    "PartitionName=main AllowQos=ALL Default=YES QoS=N/A MaxTime=1-00:00:00 State=UP\n"
    "PartitionName=debug Default=NO QoS=quick MaxTime=02:00:00\n"
    "PartitionName=cpu Default=NO QoS=N/A MaxTime=UNLIMITED\n"
)
UNLIMITED = dict.fromkeys(
    ("max_submit", "max_running", "max_array_size", "max_minutes"), "unlimited"
)


def job(number: int, partition="main", account="lab", qos="normal") -> QueuedJob:
    return QueuedJob(str(number), "PENDING", "", partition, account, qos)


@pytest.fixture
def site(fake_slurm):
    """Return a function that sets what `sacctmgr` prints for both of its queries."""

    def make(associations: str = "", qualities: str = "") -> Path:
        calls = fake_slurm("sacctmgr", associations + qualities)
        fake_slurm("scontrol", CONFIG + PARTITIONS)
        return calls

    return make


def limits_for(queue=(), **settings):
    profile = SlurmProfile(scheduler="slurm", **settings)
    return limits.find_limits(profile, {each.id: each for each in queue})


ASSOCIATIONS = "lab|lab||normal|10||||\nlab|lab|debug|normal|2|1|||\nlab|other||normal|1||||\n"


@pytest.mark.parametrize(
    ("settings", "queue", "tasks"),
    [
        ({}, [], 10),
        ({}, [job(1), job(2, qos="high")], 8),
        ({}, [job(n) for n in range(40)], 0),
        ({}, [job(1, account="other")], 10),  # another account's limit counts it
        ({"account": "other"}, [job(1)], 1),
        ({"partition": "debug"}, [job(1), job(2, "debug")], 1),
        ({"max_submit": 300, "account": "lab"}, [job(1), job(2, account="other")], 299),
        ({"max_submit": 300}, [job(1), job(2, account="other")], 298),
        (UNLIMITED, [job(1)], None),
    ],
)
def test_a_limit_counts_the_jobs_that_it_limits(site, settings, queue, tasks):
    site(ASSOCIATIONS)
    assert limits_for(queue, **settings).tasks == tasks


def test_a_qos_counts_its_own_jobs_and_a_partitions_qos_those_of_the_partition(site):
    qualities = "normal|5|4|||\nquick|3|2|01:00:00||\n"
    queue = [job(1), job(2, "debug"), job(3, "debug", qos="normal"), job(4, qos="high")]
    site(qualities=qualities)
    assert (limits_for(queue).tasks, limits_for(queue).running) == (2, 4)
    debug = limits_for(queue, partition="debug", minutes=30)
    assert (debug.tasks, debug.running, debug.minutes) == (1, 2, 60)


def test_a_limit_of_all_users_together_counts_the_jobs_of_all_users(site, fake_slurm):
    others = ("normal|PENDING||main|lab", "high|RUNNING||main|lab", "normal|RUNNING||main|other")
    lines = (each.split("|", 1) for each in others)
    everyone = [f"{n}|{rest}|{qos}|N/A|\n" for n, (qos, rest) in enumerate(lines)]
    calls = fake_slurm("squeue", "".join(everyone))
    site("lab|lab||normal|50||||\n", "normal||||9|7\n")
    assert (limits_for([job(1)]).tasks, limits_for([job(1)]).running) == (7, 7)  # 2 of 9 in the qos
    assert "--me" not in calls.read_text()
    site("lab|lab||normal|50||||\n|lab||5|3\n", "normal||||9|\n")
    assert (limits_for([job(1)]).tasks, limits_for([job(1)]).running) == (
        3,
        3,
    )  # 2 of 5 in the account
    site("lab|lab||normal|50|||4|2\n")  # the user's association counts own jobs
    assert (limits_for([job(1)]).tasks, limits_for([job(1)]).running) == (3, 2)


ACCOUNTS = "|root|||\n|dept|root|6|4\n|lab|dept||\n|other|dept|1|\n|far|root||\nme|lab|||\n"


@pytest.mark.parametrize(("account", "tasks", "running"), [("lab", 3, 4), ("far", 50, None)])
def test_a_parent_account_limits_all_jobs_below_it_whoever_submitted_them(
    site, fake_slurm, account, tasks, running
):
    theirs = ("dept", "lab", "other", "far", "far")
    fake_slurm("squeue", "".join(f"{n}|RUNNING||main|{a}|x|N/A|\n" for n, a in enumerate(theirs)))
    calls = site(f"lab|{account}||normal|50||||\n{ACCOUNTS}")
    own = limits_for(account=account)
    assert (own.tasks, own.running) == (tasks, running)
    assert calls.read_text().count("show assoc") == 2  # all parent accounts in one call


def test_only_associations_of_this_cluster_are_queried(site):
    calls = site(ASSOCIATIONS)
    limits_for()
    of_user, of_accounts, *_ = calls.read_text().splitlines()
    assert "withassoc cluster=here " in of_user
    assert "where user= cluster=here " in of_accounts


def test_features_in_another_partition_have_its_limits(site):
    site(ASSOCIATIONS)
    own = limits_for(features=FeatureJobs(partition="debug", tasks=8), minutes=60)
    assert (own.tasks, own.feature_tasks, own.feature_room) == (10, 8, 2)
    with pytest.raises(
        InputError, match=r"features\.minutes: 150 is above the 120 minutes that .* debug"
    ):
        limits_for(features=FeatureJobs(partition="debug", minutes=150))
    with pytest.raises(
        InputError, match=r"features\.minutes: 150 is above the 120 minutes that .* debug"
    ):
        limits_for(partition="debug", features=FeatureJobs(minutes=150))


def test_arrays_and_time_are_what_the_site_says(site):
    site()
    main = limits_for()
    assert (main.array, main.minutes, main.running) == (8, 1440, None)
    assert limits_for(partition="cpu").minutes is None
    given = limits_for(max_array_size=20, max_minutes=200, max_running=50)
    assert (given.array, given.minutes, given.running) == (20, 200, 50)


def test_a_time_limit_in_the_profile_does_not_apply_to_another_partition(site):
    site()
    own = {**UNLIMITED, "max_minutes": 60, "minutes": 60}
    assert limits_for(**own, features=FeatureJobs(partition="cpu", minutes=600)).minutes == 60


def test_a_time_limit_above_the_partitions_is_refused_before_anything_is_submitted(site):
    site()
    with pytest.raises(
        InputError, match="minutes: 180 is above the 120 minutes that partition debug"
    ):
        limits_for(partition="debug", minutes=180)


def test_a_limit_that_the_site_hides_does_not_apply(fake_slurm):
    fake_slurm("scontrol", "nothing of use")
    fake_slurm("sacctmgr", complains="permission denied", code=1)
    hidden = limits_for([job(1)])
    assert (hidden.tasks, hidden.running, hidden.minutes) == (None, None, None)
    assert hidden.array == 1001  # SLURM's own default


def test_without_slurm_a_limit_of_arrays_must_be_in_the_profile(fake_slurm):
    fake_slurm("scontrol", complains="Unable to contact slurm controller", code=1)
    fake_slurm("sacctmgr")
    with pytest.raises(SchedulerError, match="Unable to contact slurm controller"):
        limits_for()
    assert limits_for(max_array_size=20).array == 20


def test_the_group_limits_of_a_named_account_hold_if_the_users_association_is_hidden(
    site, fake_slurm
):
    fake_slurm("squeue", "7|RUNNING||main|lab|x|N/A|\n")
    site(ACCOUNTS)
    assert limits_for(account="lab").tasks == 5
    assert limits_for().tasks is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-00:00:00", 1440), ("02:30:00", 150), ("30:59", 30), ("UNLIMITED", None), ("", None)],
)
def test_a_time_of_slurm_in_minutes(text, expected):
    assert site_rules.parse_minutes(text) == expected


@pytest.mark.parametrize(
    ("named", "wrong"),
    [
        ({}, []),
        ({"max_submit": 10, "max_array_size": 8, "max_minutes": 1440, "max_running": 900}, []),
        (
            {"max_submit": 11, "max_array_size": 9, "max_minutes": 1441},
            [
                "max_submit is 11, and SLURM allows 10",
                "max_array_size is 9, and SLURM allows 8",
                "max_minutes is 1441, and SLURM allows 1440",
            ],
        ),
        (
            {"max_minutes": "unlimited", "minutes": 5000, "features": {"minutes": 5000}},
            ["max_minutes is unlimited, and SLURM allows 1440"],
        ),
    ],
)
def test_a_number_above_the_limit_of_the_site_is_reported(site, named, wrong):
    site(ASSOCIATIONS)
    assert list(limits.exceeded_limit_lines(SlurmProfile(scheduler="slurm", **named))) == wrong


def test_a_number_for_which_the_site_shows_no_limit_is_accepted(fake_slurm):
    fake_slurm("scontrol", CONFIG)
    assert (
        list(limits.exceeded_limit_lines(SlurmProfile(scheduler="slurm", max_submit="unlimited")))
        == []
    )


def test_without_accounting_the_limits_are_unknown_and_that_is_said_after_one_query(fake_slurm):
    fake_slurm("scontrol", CONFIG + PARTITIONS)
    calls = fake_slurm("sacctmgr", complains="sacctmgr: error: Access denied", code=1)
    found = limits_for(partition="debug", minutes=30, features=FeatureJobs(partition="cpu"))
    assert calls.read_text().count("\n") == 1
    assert (found.tasks, found.minutes) == (None, 120)  # of the partition
    (note,) = found.notes
    assert note.startswith("sacctmgr: error: Access denied: the limits of your account")
    assert "state max_submit, max_running and max_minutes in " in note


def test_a_partition_that_is_misspelt_is_named_with_those_that_there_are(site):
    site()
    with pytest.raises(InputError, match="partition: there is no partition mian; there are main,"):
        limits_for(partition="mian")
    with pytest.raises(InputError, match=r"features.partition: there is no partition CPU"):
        limits_for(features=FeatureJobs(partition="CPU"))


# As sacctmgr of SLURM 22.05 prints them: name, MaxTRESPU, GrpTRES, MaxTRES, MaxTRESMins,
# GrpTRESMins, MaxTRESPA; then user, account, partition, MaxTRES, MaxTRESMins, GrpTRES, GrpTRESMins,
# DefaultQOS; then accounts.
QOS_TRES = "normal|cpu=8,gres/gpu=2|gres/gpu=3|cpu=6|gres/gpu=120|cpu=100,gres/gpu=5000|\n"
OWN_TRES = "me|lab||mem=40G|||gres/gpu=9000|normal\n"
PARENT_TRES = "|lab|dept||||||here|1\n|dept|root||cpu=240|gres/gpu=1|||here|2\n"


@pytest.mark.parametrize(
    ("rows", "settings", "running", "minutes"),
    [
        (QOS_TRES, {"gpus": 1, "cpus": 2}, 2, 120),  # GPUs of the user; GPU-minutes of a job
        (QOS_TRES, {"gpus": 1, "cpus": 5}, 1, 120),  # CPUs of the user
        (QOS_TRES, {"gpus": 2, "cpus": 2}, 1, 60),
        (QOS_TRES, {"gpus": 0, "cpus": 2}, 4, 24 * 60),
        (PARENT_TRES, {"gpus": 1, "cpus": 4}, 1, 60),  # an account above
        (OWN_TRES, {"gpus": 1, "memory_gb": 40}, None, 24 * 60),
    ],
)
def test_limits_on_gpus_and_cpus_bound_the_jobs_at_once_and_their_time(
    site, rows, settings, running, minutes
):
    site("lab|lab||normal|50||||\n" + rows)
    found = limits_for(minutes=5, **settings)
    assert (found.running, found.minutes) == (running, minutes)


@pytest.mark.parametrize(
    ("rows", "settings", "why"),
    [
        (QOS_TRES, {"gpus": 3}, r"gpus: a job requests 3 GPU, and qos normal \(MaxTRESPerUser: "),
        (
            QOS_TRES,
            {"cpus": 7},
            r"cpus: a job requests 7 CPU, and qos normal \(MaxTRESPerJob: ",
        ),
        (
            OWN_TRES,
            {"memory_gb": 41},
            r"memory_gb: a job requests 41984 MB of memory, and ",
        ),
        (QOS_TRES, {"minutes": 121}, r"minutes: 121 is above the 120 minutes"),
    ],
)
def test_a_job_that_such_a_limit_would_keep_waiting_for_ever_is_refused(site, rows, settings, why):
    site("lab|lab||normal|50||||\n" + rows)
    with pytest.raises(InputError, match=why):
        limits_for(**{"minutes": 5, **settings})


def test_all_that_is_wrong_with_a_profile_is_named_at_once(site):
    site("lab|lab||normal|50||||\n" + QOS_TRES)
    with pytest.raises(InputError) as refusal:
        limits_for(gpus=3, cpus=9, minutes=2000, features=FeatureJobs(partition="CPU"))
    parts = str(refusal.value).split(": a job requests ")
    assert len(parts) == 4  # GPUs of the user; CPUs of the user, and of a job
    assert "there is no partition CPU" in parts[0]
    assert "minutes: 2000 is above the 40 minutes" in parts[-1]


def test_a_budget_of_gpu_minutes_is_named(site):
    site("lab|lab||normal|50||||\n" + QOS_TRES + OWN_TRES)
    notes = limits_for(gpus=1, minutes=5).notes
    assert [note for note in notes if "qos normal (GrpTRESMins: gres/gpu=5000)" in note]
    mine = "your part of account lab (GrpTRESMins: gres/gpu=9000)"
    assert [note for note in notes if mine in note and "sshare shows what is left" in note]


# As scontrol show assoc_mgr --oneliner of SLURM 22.05 prints them: limit(used), and what running
# jobs may still use.
USED = (
    "ClusterName=here Account=lab UserName= Partition= GrpTRESMins=cpu=N(9),gres/gpu=N(9) "
    "GrpTRESRunMins=cpu=N(0),gres/gpu=N(0)\n"
    "ClusterName=here Account=lab UserName={me}(0) Partition= GrpTRESMins=gres/gpu=9000(8840) "
    "GrpTRESRunMins=cpu=N(30),gres/gpu=N(60)\n"
    "QOS=normal(1) UsageRaw=1.5 GrpTRESMins=cpu=100(0),gres/gpu=5000(12) "
    "GrpTRESRunMins=cpu=N(0),gres/gpu=N(0)\n"
)
QOS_BUDGET = "normal|||||gres/gpu=5000|\n"


@pytest.fixture
def used_site(site, fake_slurm) -> None:
    site("lab|lab||normal|50||||\n" + QOS_BUDGET + OWN_TRES)
    fake_slurm("scontrol", CONFIG + PARTITIONS + USED.format(me=getpass.getuser()))


def test_what_is_left_of_a_budget_bounds_the_time_limit(used_site):
    found = limits_for(gpus=2, minutes=50)
    assert [str(budget) for budget in found.budgets] == [
        "qos normal (GrpTRESMins: gres/gpu=5000): 4988 GPU-minutes are left",
        "your part of account lab (GrpTRESMins: gres/gpu=9000): 160 GPU-minutes are left",
    ]
    assert found.minutes == 80
    assert limits_for(gpus=2, minutes=20, max_minutes="unlimited").minutes == 80
    assert not [note for note in found.notes if "sshare" in note]


@pytest.mark.parametrize(
    ("gpus", "advice"),
    [
        (2, "lower minutes to 80 or less: a longer run continues in the next job"),
        (60, "ask for more, or use another account or qos"),
    ],
)
def test_a_job_whose_time_limit_is_more_than_a_budget_has_left_is_refused(used_site, gpus, advice):
    with pytest.raises(InputError) as refusal:
        limits_for(gpus=gpus, minutes=81)
    assert f"minutes: a job requests {gpus} GPU for 81 min, and your part of" in str(refusal.value)
    assert f"160 GPU-minutes are left; {advice}" in str(refusal.value)


RESERVATION = (  # as scontrol of SLURM 22.05 prints it
    "ReservationName=service StartTime={start} EndTime={end} Duration=01:00:00 Nodes={nodes} "
    "NodeCnt={count} Features=(null) PartitionName=(null) Flags=MAINT,SPEC_NODES TRES=cpu=16 "
    "Users=root State=INACTIVE\n"
)


@pytest.mark.parametrize(
    ("start", "nodes", "minutes", "note"),
    [
        (95 * 60, "node[1-2]", 120, "a job of 120 min starts after it; one of at most 94 min fits"),
        (95 * 60, "node[1-2]", 60, ""),
        (95 * 60, "node1", 120, ""),  # the other node runs on
        (-60, "node[1-2]", 60, "no job starts before its end"),
        (-9000, "node[1-2]", 60, ""),  # it is over
    ],
)
def test_a_time_limit_that_reaches_into_a_maintenance_is_named(
    fake_slurm, start, nodes, minutes, note
):
    begin = int(time.time() + start)
    line = RESERVATION.format(
        start=begin, end=begin + 3600, nodes=nodes, count=2 if "[" in nodes else 1
    )
    main = "PartitionName=main Default=YES MaxTime=UNLIMITED Nodes=node[1-2] TotalNodes=2\n"
    fake_slurm("sacctmgr")
    fake_slurm("scontrol", CONFIG + main + line)
    notes = limits_for(minutes=minutes).notes
    assert bool(notes) == bool(note)
    assert all(note in each for each in notes)
