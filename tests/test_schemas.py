"""The published JSON Schemas are those of the code."""

from pathlib import Path

import pytest

from tests.schemas import schemas


@pytest.mark.parametrize(("path", "text"), schemas().items(), ids=lambda value: Path(value).name)
def test_a_published_schema_is_current(path: Path, text: str):
    assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: make format"
