"""configs/README.md agrees with the settings; every setting has a description and a unit."""

from pydantic import BaseModel, Field

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import SweepFile
from pipeline.config.sweep_sections.random_search import SamplingRange
from tests.settings_page import PAGE, render_page, undescribed_settings


def test_the_published_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == render_page(), f"{PAGE} is old: make format"


def test_a_row_has_meaning_unit_default_and_limits():
    rows = render_page().splitlines()
    assert (
        "| `train.batch` | largest batch | utterances | `16` | at least 1, at most 4096 |" in rows
    )
    assert (
        "| `model.time_strides` | strides of the two convolutions along time | steps | `[2, 1]` "
        "| `1`, `2`, `3` |" in rows
    )
    speeds = next(row for row in rows if row.startswith("| `features.speeds` |"))
    assert speeds.endswith("| ratio | `[]` | at least 0.5, at most 2 |")
    null = next(row for row in rows if row.startswith("| `features.mel_high_hz` |"))
    assert null.endswith("| Hz | `null` | above 0 |")


def test_every_setting_has_a_description_and_every_number_a_unit():
    for model in (Experiment, SweepFile, SamplingRange, Corpus):
        assert undescribed_settings(model) == []


class Section(BaseModel):
    length: int | None = Field(default=1, description="a length without a unit")
    width: float = Field(default=1.0, description="a width [m]")


class Incomplete(BaseModel):
    name: str
    section: Section | None = Field(default=None, description="a section")


def test_a_missing_description_or_unit_is_found():
    assert undescribed_settings(Incomplete) == ["name", "section.length"]
