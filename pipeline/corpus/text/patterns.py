"""Patterns of Unicode properties, compiled when they are first used. The only home of regex.

In:   an expression with properties of characters.   Out: a pattern.
Not here: the expressions (alphabet.py, characters.py).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class LazyPattern:
    """A compiled pattern of regex: importing it takes a while, and ASCII text needs none."""

    expression: str

    @cached_property
    def _compiled(self) -> Any:
        import regex  # noqa: PLC0415

        return regex.compile(self.expression)

    def matches(self, text: str) -> bool:
        """Return whether the pattern matches at the beginning of the text."""
        return self._compiled.match(text) is not None

    def find_all(self, text: str) -> list[str]:
        return list(self._compiled.findall(text))

    def replace_all(self, text: str, replacement: str) -> str:
        return str(self._compiled.sub(replacement, text))
