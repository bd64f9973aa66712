"""Shapes: the names in annotations of arrays, jaxtyping's where somebody checks them.

In:   whether jaxtyping is loaded, as the tests' import hook has it.   Out: its types; else names
that say the same to a reader and nothing to the interpreter.
Importing jaxtyping brings asyncio and unittest along, a tenth of what a typed command imports.
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
