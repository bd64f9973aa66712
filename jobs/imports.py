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
    """Import in this block without garbage collection: imports leave no garbage.

    With it, torch takes a fifth longer. If the block imports torch, what exists then is never
    collected: later collections do not look at torch's objects, which stay.
    """
    had_torch = "torch" in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if not had_torch and "torch" in sys.modules:
            gc.freeze()
        gc.enable()
