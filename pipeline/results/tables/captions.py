"""Captions: what a table or a figure of a report rests on, in sentences for a thesis.

In:   a comparison, the name of the report, the commands that made it.
Out:  sentences; the captions of all figures as Markdown and as LaTeX.
Not here: the tables (thesis.py), the figures (results/figures/).
"""

import re
from collections.abc import Mapping, Sequence

from pipeline.files import make_printable
from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.comparison.progress import PLACE_PATTERN
from pipeline.results.comparison.test_sets import fold_of
from pipeline.results.comparison.wording import count_text
from pipeline.results.summary.run_summary import RunSummary

LATEX_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\dots{}",
}
MARKDOWN_ESCAPES = {character: f"\\{character}" for character in "\\`*_[]<>|#"}


def captions_markdown(captions: Mapping[str, str]) -> str:
    """Return a paragraph per figure; `captions`: name of its files -> text."""
    parts = [f"**{name}**: {escape(text, MARKDOWN_ESCAPES)}" for name, text in captions.items()]
    return "\n\n".join(["Captions of the figures. PNG and PDF: IMAGES=1.", *parts, ""])


def captions_latex(captions: Mapping[str, str], report: str) -> str:
    """Return a figure environment per figure, which includes its PDF file."""
    lines = ["% needs graphicx, and the PDF files: make report … IMAGES=1"]
    for name, text in captions.items():
        lines += [
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{{name}.pdf}}",
            rf"\caption{{{escape(text, LATEX_ESCAPES)}}}\label{{fig:{report}-{name}}}",
            r"\end{figure}",
        ]
    return "\n".join([*lines, ""])


def describe_origin(
    comparison: SweepComparison, name: str, commands: Sequence[str], split: str = "test"
) -> str:
    """Return the sweep, the seeds per arm or the folds, the utterances and the command."""
    sweep = f"Sweep {name}, {count_seeds(comparison) or 'no run is finished'}."
    return f"{sweep} {describe_split(comparison, split)}{describe_commands(commands)}"


def describe_seeds(comparison: SweepComparison) -> str:
    counted = count_seeds(comparison)
    if _folds(comparison):
        return (
            f"by cross-validation on {counted}, the rate of all errors ± the standard deviation of "
            "the runs’ rates, in brackets its 95 % interval over folds"
        )
    if any(len(arm.runs) > 1 for arm in comparison.arms):
        return f"mean ± standard deviation over {counted}, in brackets the mean's 95 % interval"
    return "one seed per arm, which cannot tell whether a difference is chance"


def count_seeds(comparison: SweepComparison) -> str:
    """Return the seeds per arm, with cross-validation the folds; empty without a finished arm."""
    if folds := _folds(comparison):
        return count_text(folds, "fold")
    numbers = sorted({len(arm.runs) for arm in comparison.arms})
    if not numbers:
        return ""
    low, high = numbers[0], numbers[-1]
    return f"{low if low == high else f'{low} to {high}'} seed{'s' if high > 1 else ''} per arm"


def _folds(comparison: SweepComparison) -> int:
    """Return the number of folds that any run tests; 0 without cross-validation."""
    found = {fold_of(run) for arm in comparison.arms for run in arm.runs}
    return len(found - {None})


def describe_split(comparison: SweepComparison, split: str = "test") -> str:
    """Return the test or dev sets of the runs: their utterances, speakers and characters."""
    runs = [run for arm in comparison.arms for run in arm.runs]
    if folds := _folds(comparison):
        return _describe_folds(folds, runs, split)
    found: dict[str, None] = {}
    for run in runs:
        row, hypotheses = run.test_row, run.hypotheses_for(split)
        if split != "test":
            row = run.selected_dev_row
        if row is None:
            continue
        speakers = set(hypotheses.texts("speaker")) - {""}
        of = f" of {len(speakers)} speakers" if speakers else ""
        name = run.experiment.corpus.name if run.experiment else "unknown corpus"
        found[f"{name}, {row['utterances']} utterances{of}, {row['chars']} {run.units}"] = None
    if not found:
        return f"No run has a {split} result yet. "
    return f"{split.capitalize()} set: {'; '.join(found)}. "


def _describe_folds(folds: int, runs: Sequence[RunSummary], split: str) -> str:
    """Return the sets of all folds together."""
    name = runs[0].experiment.corpus.name if runs[0].experiment else "unknown corpus"
    found = {each.utterance_id: each for run in runs for each in run.hypotheses_for(split)}
    speakers = {each.speaker for each in found.values()} - {""}
    of = f" of {len(speakers)} speakers" if speakers else ""
    characters = sum(each.chars for each in found.values())
    return (
        f"{split.capitalize()} sets of {count_text(folds, 'fold')}: {name}, "
        f"{len(found)} utterances{of}, "
        f"{characters} {runs[0].units}. "
    )


def describe_commands(commands: Sequence[str]) -> str:
    """Return the commands without the folders of this machine, which change no result.

    `commands`: that of each sweep, then that of the report. One sweep: only its own is returned.
    """
    shown = commands if len(commands) > 2 else commands[:1]
    return f"Made with: {'; '.join(map(without_folders, shown))}" if shown else ""


def without_folders(text: str) -> str:
    """Return the text with its commands as another machine would type them."""
    return re.sub(r"(?<==)('?)[/~]\S*/", r"\1", PLACE_PATTERN.sub("", text))


def escape(text: str, escapes: Mapping[str, str]) -> str:
    r"""Return one line, in which a control character is shown as an escape such as \x1b."""
    printable = make_printable(" ".join(text.split()))
    return "".join(escapes.get(character, character) for character in printable)
