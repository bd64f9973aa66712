"""Nothing of the machine is in a report that others read."""

import re
from pathlib import Path

import pandas as pd

from pipeline.corpus.manifest import Refusal
from pipeline.features.rejected import CorpusRefusals
from pipeline.results.page.figure_files import Formats
from pipeline.results.report import write_report_folder
from tests.results.examples import NOW, RunScenario, make_run, make_sweep

SHORT = RunScenario(escape_updates=60, epochs=3, utterances=6)


def test_nothing_of_the_machine_is_in_the_files_of_a_report(tmp_path: Path):
    """Neither in the page and the tables nor in the figures: paths, whatever failed."""
    secret = tmp_path / "home" / "eva"
    runs = [*make_sweep(secret / "runs"), make_run(secret / "runs/h8", "damaged", {}, SHORT)]
    (secret / "runs/h8/rows.jsonl").write_text("{", encoding="utf-8")
    refused = CorpusRefusals("an4", 2, (Refusal("u1", f"{secret}/wav/u1.wav: is cut short"),))
    commands = [f"make sweep SWEEP=a.yaml WORK={secret}/work"]
    write_report_folder(
        "a", "", runs, tmp_path / "report", remedies={}, commands=commands, refused=[refused],
        now=NOW, formats=Formats(images=True),
    )  # fmt: skip
    said = {}
    for file in sorted((tmp_path / "report").rglob("*.*")):
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content = pd.read_parquet(file).to_csv().encode()
        if file.name == "report.html":  # the command to repeat it is as it was typed
            content = re.sub(rb"<(pre|code)>.*?</\1>", b"", content, flags=re.DOTALL)
        said[file.name] = content
    assert {"report.html", "refused.csv", "captions.tex", "arms.md", "loss.pdf"} <= said.keys()
    assert [name for name, content in said.items() if b"eva/" in content] == []
    assert b"u1.wav: is cut short" in said["refused.csv"]
    assert b"rows.jsonl cannot be read" in said["report.html"]
