"""Features that SLURM ends: told, asked for with more, and the runs behind them go through."""


def test_features_killed_for_their_memory_say_so_and_are_asked_for_with_twice_as_much(bench):
    # Importing numpy takes more than either.
    little = {"memory_gb": 0.02, "minutes": 30}
    bench.submits("two", profile=bench.profile(features=little))
    bench.await_jobs()
    shown = bench.typed("status", "two", "--once").out
    assert "features failed: out of memory: the job used more memory than it asked for" in shown
    assert {run["cause"] for run in bench.states("two").values()} == {"missing features"}
    printed = bench.submits("two", profile=bench.profile(features=little))
    assert "features: out of memory: again with 0.04 GB" in printed
    *_, again = (entry for entry in bench.ledger("two") if entry.kind == "features")
    assert (again.memory_gb, set(again.causes)) == (0.04, {"out of memory"})
    bench.await_jobs()

    printed = bench.submits("two", profile=bench.profile())
    assert "out of memory: again" not in printed  # the profile gives more by now
    bench.await_jobs()
    assert {run["state"] for run in bench.states("two").values()} == {"finished"}
