"""A report of features alone says what of their corpus was refused, whatever is left of them."""

from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from jobs.commands.parser import main
from tests.jobs.conftest import TinyProject


@pytest.fixture
def project(make_project: Callable[..., TinyProject]) -> TinyProject:
    """A file that is not audio, which its reader refuses; and one that cannot be decoded."""
    made = make_project("csv")
    flac = made.corpus / "u12.flac"
    soundfile.write(flac, np.random.default_rng(0).uniform(-0.5, 0.5, 32_000), 16_000)
    content = bytearray(flac.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    flac.write_bytes(content)
    table = made.corpus / "list.csv"
    table.write_text(table.read_text("utf-8") + "u12.flac,NO,faaa\n", "utf-8")
    return made


def verb(bench: TinyProject, name: str, *words: str) -> int:
    return main([name, *words, str(bench.sweep_file), "--work", str(bench.work)])


def test_a_report_names_what_was_refused_as_far_as_shards_are_left(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
):
    assert verb(project, "features", "--sweep") == 1
    shards = sorted(project.work.glob("features/*/shard-*.h5"))
    assert len(shards) == 2
    refused = project.sweep_folder.reports / "refused.csv"

    capsys.readouterr()
    assert verb(project, "report") == 0
    out = capsys.readouterr().out
    assert "\nNo answer yet: 0 of 2 runs are finished.\nNot finished: 2 waiting.\nreport: " in out
    page = project.sweep_folder.report_file.read_text("utf-8")
    assert "tiny: 2 of 14 utterances refused:" in page
    assert "broken.wav: " in page
    assert refused.read_text("utf-8").count("\n") == 3

    shards[0].write_bytes(shards[0].read_bytes()[:5000])
    shards[1].unlink()
    assert verb(project, "report") == 0
    assert "tiny: 1 of 14 utterances refused:" in project.sweep_folder.report_file.read_text(
        "utf-8"
    )
    assert refused.read_text("utf-8").count("\n") == 2
