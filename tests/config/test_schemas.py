"""The published JSON Schemas agree with the code."""

from pathlib import Path

import pytest

from tests.schemas import render_schemas


@pytest.mark.parametrize("path", render_schemas(), ids=lambda path: path.parent.name)
def test_a_published_schema_is_current(path: Path):
    assert path.read_text(encoding="utf-8") == render_schemas()[path], f"{path} is old: make format"
