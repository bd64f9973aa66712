"""Shapes: the types in annotations of arrays, such as Float32[np.ndarray, "frames bins"].

In:   whether jaxtyping is imported already (the tests do that, to check the shapes).
Out:  the types of jaxtyping; otherwise names that the interpreter does not check.
Not here: the checks themselves (tests only).

Importing jaxtyping also imports asyncio and unittest, which would make each command slower.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import (
        Bool,
        Float,
        Float16,
        Float32,
        Float64,
        Int,
        Int16,
        Int64,
        Shaped,
        UInt8,
    )
else:

    class _Unchecked:
        def __class_getitem__(cls, array_and_axes: tuple[Any, str]) -> Any:
            return Any

    Bool = Float = Float16 = Float32 = Float64 = Int = Int16 = Int64 = Shaped = UInt8 = _Unchecked

__all__ = [
    "Bool",
    "Float",
    "Float16",
    "Float32",
    "Float64",
    "Int",
    "Int16",
    "Int64",
    "Shaped",
    "UInt8",
]
