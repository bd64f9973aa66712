"""A site's limits, in force: a sweep is cut into the tasks that fit, and none is rejected."""

import secrets
from collections.abc import Iterator

import pytest

MOST = 3  # jobs that may be submitted


@pytest.fixture
def account(bench, command) -> Iterator[str]:
    """An account of this test's own, in which root may submit few jobs."""
    user = command("id", "-un").out.strip()
    name = f"test-{secrets.token_hex(4)}"
    for words in (
        f"add account {name}",
        f"add user {user} account={name}",
        f"modify user {user} where account={name} set MaxSubmitJobs={MOST}",
    ):
        assert command("sacctmgr", "-i", *words.split()).code == 0, words
    try:
        yield name
    finally:
        command("scancel", f"--account={name}")
        bench.await_jobs()
        gone = command("sacctmgr", "-i", "delete", "account", name)
    assert gone.code == 0, gone


def test_runs_are_chunked_into_the_jobs_that_a_user_may_submit(bench, account):
    careless = bench.profile(gated=True, account=account, max_submit="unlimited")
    refused = bench.sweep("six", profile=careless)
    assert refused.code == 2
    assert "AssocMaxSubmitJobLimit" in refused.errors
    assert "max_submit in the profile is above what the site allows" in refused.errors
    assert [entry.kind for entry in bench.ledger("six")] == ["features"]

    # The limit counts the user's jobs in every account, to be safe; others' must not be there.
    bench.until(lambda: set(bench.all_queued()) == set(bench.queued()))
    printed = bench.submits("six", profile=bench.profile(gated=True, account=account))
    assert "no room" not in printed
    features, *runs = bench.ledger("six")
    assert bench.queued().keys() == {features.job, *(entry.job for entry in runs)}
    assert len(bench.queued()) == MOST
    assert [len(entry.items) for entry in runs] == [3, 3]
    bench.gate.touch()
    bench.await_jobs()
    assert {run["state"] for run in bench.states("six").values()} == {"finished"}
    assert "nothing to do: 6 of 6 runs are finished" in bench.submits("six")
