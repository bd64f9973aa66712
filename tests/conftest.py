"""Fixtures that more than one room uses; and in CI a skipped test is a failed one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """CI has AN4, SLURM and a browser, so that there a skip hides a test."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def an4() -> Path:
    """The folder of the AN4 corpus, from the environment variable AN4."""
    folder = Path(os.environ.get("AN4", REPOSITORY / "../shared/an4")).resolve()
    if not (folder / "etc").is_dir():
        pytest.skip(f"AN4 is not at {folder}; set AN4 to its folder")
    return folder
