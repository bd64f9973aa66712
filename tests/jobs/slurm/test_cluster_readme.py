"""cluster/README.md names every profile, state and failure cause, and only fields that exist."""

import re
from pathlib import Path
from typing import get_args

import pytest

from jobs.node.failures import REMEDIES
from jobs.profile import SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.sweep.run_status import State

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"
PAGE = (CLUSTER / "README.md").read_text(encoding="utf-8")
FIRST_CELLS = re.findall(r"^\| ([^|]+) \|", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("name", [*REMEDIES, *get_args(State)])
def test_each_cause_and_each_state_has_a_row(name: str):
    assert f"`{name}`" in FIRST_CELLS


@pytest.mark.parametrize("profile", sorted(CLUSTER.glob("*.yaml")), ids=lambda path: path.name)
def test_each_profile_is_linked(profile: Path):
    assert f"({profile.name})" in PAGE


def test_the_fields_of_the_table_exist():
    table = PAGE.partition("| field | meaning |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    named_features = set(re.findall(r"`(\w+)`", rows[-2][2]))
    assert "`features`" in rows[-2][1]
    assert named - SlurmProfile.model_fields.keys() == set()
    assert named_features == FeatureJobs.model_fields.keys()
