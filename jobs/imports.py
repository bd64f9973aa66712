"""Imports of large libraries, such as torch, which take seconds.

In:   the imports, in a block.   Out: the same modules, sooner.
Not here: which function imports what, and why only there (the comments beside the imports).
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Leave out garbage collection in this block, in which torch's import takes a fifth less time.

    If the block imports torch, later collections leave out all objects that exist at its end: they
    stay, and to look at each of torch's takes time. Garbage in cycles among them stays in memory.
    """
    was_enabled, had_torch = gc.isenabled(), "torch" in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if not had_torch and "torch" in sys.modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
