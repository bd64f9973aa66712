"""answer.md: what a sweep asked and what was found, as text to keep beside its tables.

In:   question, sentences of the answer, commands, versions of the code.   Out: Markdown.
Not here: the sentences (comparison/answer.py).
"""

import time
from collections.abc import Sequence

from pipeline.results.summary.provenance import CodeVersion
from pipeline.results.tables.captions import MARKDOWN_ESCAPES, escape, without_folders


def answer_markdown(
    asked: Sequence[str],
    answer: Sequence[str],
    notes: Sequence[str],
    *,
    commands: Sequence[str],
    versions: Sequence[CodeVersion],
    now: float,
) -> str:
    """Return a paragraph each: question, answer, notes, origin; then the commands.

    `now`: in seconds since 1970. Folders of this machine are left out.
    """
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    made = ", ".join(_describe_code(each) for each in versions) or "an unknown version of the code"
    paragraphs = [*asked, " ".join(answer), *notes, f"Written on {day}; runs made by {made}."]
    texts = [escape(without_folders(text), MARKDOWN_ESCAPES) for text in paragraphs]
    return "\n\n".join([*texts, "".join(f"    {without_folders(line)}\n" for line in commands)])


def _describe_code(version: CodeVersion) -> str:
    commit = f"commit {version.commit}" if version.commit else f"code {version.code}"
    return f"{commit} with changes" if version.dirty else commit
