"""answer.md: question, answer, origin."""

from pipeline.results.summary.provenance import CodeVersion
from pipeline.results.tables.answer_text import answer_markdown


def test_text_has_question_answer_commit_date_and_command() -> None:
    text = answer_markdown(
        ["Question: which cell?", "Expected: lstm."],
        ["Best on dev: a_b, test CER 9.0 %.", "No more."],
        ["One note."],
        commands=["make sweep SWEEP=a.yaml", "make report SWEEP=a.yaml"],
        versions=[CodeVersion("c0de", "12345", False, 3), CodeVersion("c1de", "", None, 1)],
        now=86400.0,
    )
    assert text.split("\n\n") == [
        "Question: which cell?",
        "Expected: lstm.",
        "Best on dev: a\\_b, test CER 9.0 %. No more.",
        "One note.",
        "Written on 1970-01-02; runs made by commit 12345, code c1de.",
        "    make sweep SWEEP=a.yaml\n    make report SWEEP=a.yaml\n",
    ]


def test_text_says_that_code_had_changes_and_that_it_is_unknown() -> None:
    version = CodeVersion("c0de", "12345", True, 3)
    texts = [
        answer_markdown([], ["A."], [], commands=[], versions=known, now=0.0)
        for known in ([version], [])
    ]
    assert "commit 12345 with changes" in texts[0]
    assert "unknown version of the code" in texts[1]
