"""Fixtures that more than one room uses."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def an4() -> Path:
    """The folder of the AN4 corpus, from the environment variable AN4."""
    folder = Path(os.environ.get("AN4", REPOSITORY / "../shared/an4")).resolve()
    if not (folder / "etc").is_dir():
        pytest.skip(f"AN4 is not at {folder}; set AN4 to its folder")
    return folder
