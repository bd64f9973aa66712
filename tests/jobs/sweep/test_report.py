"""Reports of several sweeps: one question, with the sweeps named."""

from jobs.sweep.record import SweepRecord
from jobs.sweep.report import join_questions
from pipeline.results.page.views import parse_header


def make_record(name: str, question: str) -> SweepRecord:
    return SweepRecord(name, question, f"{name}.yaml", "", (), ())


def test_the_questions_of_several_sweeps_are_one_and_apart_from_what_is_expected():
    first = make_record(
        "norm", "Question: which norm,\nat which depth?\nCost: 24 runs.\nExpect: BN."
    )
    second = make_record("recipe", "Which change of the recipe?")
    joint = parse_header(join_questions([first, second]))
    assert joint["question"] == (
        "Which norm, at which depth? (norm) Which change of the recipe? (recipe)"
    )
    assert joint["expect"] == "BN. (norm)"
    assert joint["cost"] == "24 runs. (norm)"
    assert join_questions([first]) == first.question
    assert join_questions([make_record("a", ""), make_record("b", "")]) == ""
