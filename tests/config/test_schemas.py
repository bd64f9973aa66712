"""The published JSON Schemas are those of the code."""

from pathlib import Path

import pytest

from tests.schemas import schemas


@pytest.mark.parametrize("path", schemas(), ids=lambda path: path.parent.name)
def test_a_published_schema_is_current(path: Path):
    assert path.read_text(encoding="utf-8") == schemas()[path], f"{path} is old: make format"
