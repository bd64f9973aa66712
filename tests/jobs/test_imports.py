"""Imports of torch: without garbage collection, which is on again afterwards."""

import gc
import subprocess
import sys

import pytest

from jobs.imports import quick_imports

IMPORT_TORCH_IN_NOTEBOOK = """
import gc
from jobs.imports import quick_imports

frozen = gc.get_freeze_count()
with quick_imports(freeze=False):
    import torch
print(gc.get_freeze_count() - frozen, gc.isenabled())
"""
IMPORT_TORCH = """
import gc
from jobs.imports import quick_imports

collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
with quick_imports():
    import torch
print(len(collections), gc.isenabled(), gc.get_freeze_count())
frozen = gc.get_freeze_count()
made = [[] for _ in range(100_000)]
with quick_imports():
    import torch
print(gc.get_freeze_count() - frozen)
"""


def run_python(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_in_a_notebook_the_objects_of_the_user_are_still_collected() -> None:
    assert run_python(IMPORT_TORCH_IN_NOTEBOOK) == ["0 True"]


def test_torch_is_imported_without_collections_and_is_not_looked_at_later() -> None:
    first, second = run_python(IMPORT_TORCH)
    collections, enabled, frozen = first.split()
    assert (collections, enabled) == ("0", "True")
    assert int(frozen) > 100_000
    assert int(second) < 1000  # `made` can still be collected


def test_collection_is_on_again_after_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError), quick_imports():
        assert not gc.isenabled()
        import blankslate_has_no_such_module  # noqa: F401
    assert gc.isenabled()


def test_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with quick_imports(), quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
