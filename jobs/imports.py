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
    """Turn garbage collection off in this block: torch's import takes about a fifth less time.

    If the block imports torch, later collections skip all objects that exist at its end, because
    torch's many objects stay, and each look at them takes time. Unused reference cycles among them
    stay in memory too.
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
