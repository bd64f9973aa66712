"""Fixtures of several rooms; the check of annotations; in CI a skipped test is a failed one."""

import functools
import gc
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype
from beartype.claw import beartype_package
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook, jaxtyped
from xdist.scheduler import LoadScopeScheduling

REPOSITORY = Path(__file__).resolve().parent.parent


def check_in_context(*, typechecker: Any) -> Any:
    """Check a function as `jaxtyped` does, but faster.

    The axes of all arguments and of the returned value are compared in one context. jaxtyping also
    binds the arguments to their names, for its messages, and checks them again with the value.
    """

    def decorate(function: Any) -> Any:
        plain = inspect.isfunction(function) and not inspect.isgeneratorfunction(function)
        # An annotation that is a string may name what only a type checker imports.
        if not plain or any(isinstance(each, str) for each in function.__annotations__.values()):
            return jaxtyped(typechecker=typechecker)(function)
        checked = beartype(function)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if jaxtyping.config.jaxtyping_disable:
                return function(*arguments, **named)
            with jaxtyped("context"):
                return checked(*arguments, **named)

        return call

    return decorate


def check_annotations() -> None:
    """Check types and, where a module states any, shapes of arrays, at each call.

    jaxtyping takes many times as long for a call as beartype. It has the modules with shapes, and
    those with names that only a type checker imports, which beartype alone would look for.
    """
    names = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in (REPOSITORY / "pipeline").rglob("*.py")
        if re.search(r"from pipeline\.shapes |TYPE_CHECKING", path.read_text(encoding="utf-8"))
    ]
    beartype_package("pipeline", conf=BeartypeConf(claw_is_pep526=False))
    install_import_hook(names, "beartype.beartype")
    jaxtyping.jaxtyped = check_in_context  # the hook puts this name before each function


check_annotations()

# Before torch is imported: the processes of a test run share the CPUs, and idle threads spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests that name no cluster mean this machine, although CI has sbatch on PATH.
os.environ.setdefault("BLANKSLATE_THIS_MACHINE", "1")

for variable in ("BLANKSLATE_CLUSTER", "BLANKSLATE_WORK"):  # of whoever runs the tests
    os.environ.pop(variable, None)

# The longest first, so that none is left for the end.
RUN_FIRST = (
    *("tests/slurm/test_", "tests/slurm/alone/test_ordeal", "tests/slurm/alone/"),
    *("tests/jobs/launch/test_reconcile.py", "tests/test_demo.py", "tests/test_languages.py"),
    "tests/jobs/",
    *("tests/benchmarks/test_benchmarks.py", "tests/training/loop/test_trainer.py"),
    "tests/training/loop/test_killed.py",
)

# Tests on SLURM wait most of the time, and may run beside each other: three processes have them.
# The third has all other files of tests/slurm too, and at its end those of alone/.
SLURM_SHARES = (
    {"test_requeue", "test_features", "test_refusals"},
    {"test_interruptions", "test_limits", "test_shell", "test_thousand"},
)

# A busy machine is slow, and that is no finding.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """CI has AN4, SLURM and a browser, so that there a skip hides a test."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


def pytest_collection_finish() -> None:
    """Modules and collected tests stay until the end: the garbage collector need not visit them."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for path in RUN_FIRST:
        assert any(REPOSITORY.glob(f"{path}*")), f"RUN_FIRST names {path}, which is gone"

    def place(item: pytest.Item) -> int:
        places = (n for n, path in enumerate(RUN_FIRST) if item.nodeid.startswith(path))
        return next(places, len(RUN_FIRST))

    items.sort(key=place)


class FileScheduling(LoadScopeScheduling):
    """Each file belongs to one process, because its fixtures take long; see SLURM_SHARES too."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", maxsplit=1)[0]
        if not file.startswith("tests/slurm/"):
            return file
        shares = (number for number, names in enumerate(SLURM_SHARES) if Path(file).stem in names)
        return f"slurm {next(shares, len(SLURM_SHARES))}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling:
    return FileScheduling(config, log)


@pytest.fixture(scope="session")
def an4() -> Path:
    """The folder of the AN4 corpus, from the environment variable AN4."""
    folder = Path(os.environ.get("AN4", REPOSITORY / "../shared/an4")).resolve()
    if not (folder / "etc").is_dir():
        pytest.skip(f"AN4 is not at {folder}; set AN4 to its folder")
    return folder
