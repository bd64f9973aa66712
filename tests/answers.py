"""configs/sweeps/README.md: questions, expectations and answers. `make format` writes it.

In:   the sweep files; configs/sweeps/answers/<sweep>/, which this program fills from reports.
Out:  the text of the page.
Not here: the answers (`Answer:` at the top of a sweep file, results/comparison/answer.py).

`python -m tests.answers work/reports/cell` keeps that report's answer, tables and figures.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.results.page.views import parse_header

SWEEPS = Path(__file__).resolve().parent.parent / "configs" / "sweeps"
PAGE = SWEEPS / "README.md"
QUESTION_PATTERN = re.compile(r"(.*?[?.])(?: (.*)|$)", re.DOTALL)
ORIGIN_PATTERN = re.compile(r"^Answer \(([^)]*)\):", re.MULTILINE)
NEXT_STEP_PATTERN = re.compile(
    r" Next, with (?:its|the) best (?:run|seed) .*"
)  # its runs are not kept
KEPT = (
    *("answer.md", "arms.csv", "phases.csv"),
    *(f"figures/{name}.svg" for name in ("forest", "cer", "loss")),
)
SECTIONS = {
    "Why is all blank?": ("plateau", "escape-seeds", "escape", "remedies"),
    "Which input?": ("spectrum", "normalisation", "spectrum-normalisation", "n-fft", "speeds"),
    "Which network?": (*("clamp", "convolution", "norm", "padding", "cell", "direction", "size"),),
    "Which training?": ("learning-rate", "epochs", "batch", "sortagrad", "recipe"),
    "What does it cost?": ("storage", "precision"),
    "How good does it get?": ("seeds", "small", "potential"),
}
INTRODUCTION = """\
# Questions and answers

`python -m tests.answers` writes this page from the sweep files of this folder; `make format` runs
it. Edit the comment at the top of a sweep file, not this page.

Each sweep file asks one question and says what was expected before it was run. An answer is what
its report says: the arms (the settings that are compared), the mean test error rate of each, and
which differences are shown. An interval in parentheses is a 95 % interval; the intervals of
differences hold for all arms at once. "Cannot be told apart" does not mean "equal": arms.csv has
the interval of each difference from the arm that is best on dev. Two other arms are compared only
where the answer says so. Rates are of greedy decoding if nothing else is said.

Most sweeps train with `configs/corpora/an4-folds.yaml`: five-fold cross-validation over the 74
training speakers of AN4, one fold per seed, 30 epochs, half of the baseline's. A sweep of three
seeds has three of the five folds; `SEEDS=5` adds the others. The folds have no utterance of AN4's
standard test set, so that set can still judge a setting that was chosen on them. For the full size
on a GPU add `SET="train.epochs=60" SEEDS=10` (not to batch.yaml, epochs.yaml and speeds.yaml,
which vary the epochs).

The report of an answer without a figure was not kept; its numbers are those of
[tests/benchmarks/README.md](../../tests/benchmarks/README.md). "The older scoring" counted spaces
at the ends of a text. Two commits that answers name, 5d78eb8 and 3765b39, are not in the history
of this repository.

If your network prints nothing, read [what to expect of CTC](what-to-expect-of-ctc.md) and
[what is wrong with my run](what-is-wrong.md) first.
"""


def keep(report: Path) -> Path:
    """Copy what is kept of a report; return the new folder."""
    folder = SWEEPS / "answers" / report.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(report / name, folder / Path(name).name)
    answer = folder / "answer.md"
    answer.write_text(NEXT_STEP_PATTERN.sub("", answer.read_text("utf-8")), "utf-8")
    arm_curves(pd.read_csv(report / "results.csv")).to_csv(folder / "curves.csv", index=False)
    return folder


def arm_curves(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean, lowest and highest CER and loss of each arm after each epoch, train and dev."""
    rows = results[results["split"] != "test"]
    arms = rows["label"].str.replace(r"(, )?seed \d+$", "", regex=True).rename("arm")
    curves = rows.groupby([arms, "split", "epoch"], sort=False).agg(
        runs=("run_id", "nunique"),
        updates=("updates", "median"),
        **{
            f"{name}_{of}": (column, of)
            for name, column in (("cer", "cer"), ("loss", "loss_per_character"))
            for of in ("mean", "min", "max")
        },
    )
    return curves.round(4).reset_index()


def page() -> str:
    """Return the text of the page."""
    return "\n".join([INTRODUCTION, *(line for section in SECTIONS for line in _section(section))])


def _section(title: str) -> Iterator[str]:
    yield f"## {title}\n"
    for name in SECTIONS[title]:
        yield from _entry(name)


def _entry(name: str) -> Iterator[str]:
    comment = opening_comment(SWEEPS / f"{name}.yaml")
    header, origin = parse_header(comment), ORIGIN_PATTERN.search(comment)
    answered = (SWEEPS / "answers" / name / "answer.md").exists()
    found = QUESTION_PATTERN.match(header["question"])
    assert found, f"{name}.yaml: the comment at its top has no question"
    question, details = found.groups()
    yield f"### {question}\n"
    if details:
        yield f"{details}\n"
    yield f"*Expected*: {header['expect']}\n"
    when = f" ({origin[1]})" if origin else ""
    yield f"*Found*{when}: {header['answer'] or 'not run yet.'}\n"
    if answered:
        yield f"![The arms and their intervals](answers/{name}/forest.svg)\n"
        links = f"[whole answer](answers/{name}/answer.md), [table](answers/{name}/arms.csv)"
        if (SWEEPS / "answers" / name / "cer.svg").exists():
            links += f", [learning curves](answers/{name}/cer.svg)"
        yield f"{links}.\n"
    yield f"    make sweep SWEEP=configs/sweeps/{name}.yaml\n"
    yield f"Cost: {header['cost']}\n"


def opening_comment(path: Path) -> str:
    """Return the comment at the top of a sweep file without its number signs."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(keep(Path(each)))
    PAGE.write_text(page(), "utf-8")
