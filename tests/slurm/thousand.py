"""A thousand runs on the development SLURM: seconds and memory to submit, look at and cancel them.

Run it where `make slurm-up` has been typed: python -m tests.slurm.thousand
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS = 1000
SETTINGS = {
    "one.yaml": "reader: demo\nminutes: 0.5\nvoices: 6\n",
    "tiny.yaml": "corpus: one.yaml\ninput: {stack: 4}\nmodel: {fc1: 8, fc2: 8, hidden: 8}\n"
    "train: {epochs: 1, batch: 4}\n",
    "thousand.yaml": f"base: tiny.yaml\naxes: {{train.seed: {list(range(RUNS))}}}\n",
}
VERBS = (  # what is timed, and how often
    ("plan and submit", ("sweep", "thousand.yaml"), 1),
    ("typed again", ("sweep", "thousand.yaml"), 1),
    ("status, drawn once", ("status", "thousand.yaml", "--once"), 3),
    ("status, JSON", ("status", "thousand.yaml", "--json"), 3),
    ("cancel", ("cancel", "thousand.yaml"), 1),
)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="blankslate-thousand-") as name:
        folder = Path(name)
        for file, content in SETTINGS.items():
            (folder / file).write_text(content, encoding="utf-8")
        told("the corpus is spoken", ("sweep", "thousand.yaml", "--dry-run"), folder)
        for what, words, times in VERBS:
            for _ in range(times):
                told(what, words, folder)


def told(what: str, words: tuple[str, ...], folder: Path) -> None:
    place = ("--work", str(folder / "work"))
    profile = ("--cluster", str(REPOSITORY / "cluster/dev/slurm.yaml"))
    words = tuple(str(folder / word) if word.endswith(".yaml") else word for word in words)
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "jobs", *words, *place, *profile],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{what}: ended with {os.waitstatus_to_exitcode(status)}")
    print(f"{what:22} {seconds:6.2f} s  {usage.ru_maxrss / 1024:4.0f} MB")


if __name__ == "__main__":
    main()
