"""Values: `dataclass`, made in a quarter of the time that the standard library takes.

In:   a class of annotated fields.   Out: a dataclass, for mypy and at run time.
Not here: settings, whose values are checked (settings.py).

The standard one compiles six functions for each class, and those of seventy classes were a tenth of
what a typed command took. Here it compiles the constructor alone; equality, hash and repr are the
same functions for all. That nothing assigns to a frozen one is for mypy to see: nothing refuses it.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, kw_only=False, slots=False):
        options = {"frozen": frozen, "eq": eq, "kw_only": kw_only, "slots": slots}
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        own = {"__repr__", "__eq__", "__hash__"} & vars(cls).keys()
        if own:  # which stand
            return dataclasses.dataclass(cls, **options)
        cls.__doc__ = cls.__doc__ or cls.__name__  # else it would be the signature, found out now
        options |= {"frozen": False, "eq": False}
        made = dataclasses.dataclass(cls, repr=False, **options)
        fields = dataclasses.fields(made)
        made.__repr__ = _shown([field.name for field in fields if field.repr])
        if eq:
            values = _getter([field.name for field in fields if field.compare])
            made.__eq__ = _same(values)
            made.__hash__ = (lambda self: hash(values(self))) if frozen else None
        return made


def _getter(names: list[str]) -> Callable[[Any], Any]:
    """Of the values of a key."""
    return attrgetter(*names) if names else lambda value: ()


def _same(values: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
    def same(self: Any, other: object) -> Any:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return same


def _shown(names: list[str]) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    return shown


__all__ = ["dataclass"]
