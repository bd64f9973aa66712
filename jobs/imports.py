"""Imports of large libraries, such as torch, which take seconds.

In:   the imports, in a block.   Out: the same modules, sooner.
Not here: which function imports what, and why only there (the comments beside the imports).
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports(*, freeze: bool = True) -> Iterator[None]:
    """Turn garbage collection off in this block: torch's import takes about a fifth less time.

    With `freeze`, if the block imports torch, later collections skip all objects that exist at its
    end, because to look at torch's many objects takes time. Unused reference cycles among them stay
    in memory. So a function that a notebook may call has `freeze=False`: other objects there are
    the user's.
    """
    was_enabled, had_torch = gc.isenabled(), "torch" in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if freeze and not had_torch and "torch" in sys.modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
