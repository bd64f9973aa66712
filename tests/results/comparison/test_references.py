"""Runs with different references: another corpus, or another normalisation of its text."""

from dataclasses import replace
from pathlib import Path

from pipeline.results.comparison import answer
from pipeline.results.comparison.arms import compare_runs
from pipeline.results.summary.run_summary import read_run
from tests.results.examples import NOW, RunScenario, make_run


def test_runs_with_different_references_are_not_compared_and_the_answer_says_why(tmp_path: Path):
    scenario = RunScenario(escape_updates=60, epochs=4, utterances=10)
    runs = [
        make_run(tmp_path / f"{stack}", f"stack {stack}", {"input.stack": stack}, scenario)
        for stack in (1, 2)
    ]
    file = runs[1].folder.hypotheses_file
    heartbeat = runs[1].folder.heartbeat()
    assert heartbeat is not None
    lines = [line.replace(",test,", ",test,X ", 1) for line in file.read_text("utf-8").splitlines()]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    digest = runs[1].folder._digest()
    runs[1].folder.write_heartbeat(replace(heartbeat, digest=digest))
    comparison = compare_runs([read_run(run, NOW) for run in runs])
    assert comparison.differences == ()  # of single runs
    found = answer.sentences(comparison)
    assert any(
        each.startswith("10 test utterances with other references in other runs") for each in found
    )
    assert any("nothing is said about differences" in each for each in found)
