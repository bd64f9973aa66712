"""Random search: ranges and lists of values -> the draws of a sweep.

In:   the `random` section of a sweep file.   Out: dotted key -> value, for each draw.
Not here: how draws combine with the grid and the list (config/sweep.py).
"""

import math
import random
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.config.loader import Settings


class SamplingRange(Settings):
    """The range of a random draw: uniform, or uniform in the logarithm."""

    low: float = Field(description="smallest value [the setting's unit]")
    high: float = Field(description="largest value; above low [the setting's unit]")
    log: bool = Field(
        default=False, description="true: draw uniformly in the logarithm; low must be above 0"
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> "SamplingRange":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"low {self.low:g} must be below high {self.high:g}, and above 0 if log is true"
            )
        return self


class RandomSearch(Settings):
    """Random search: each setting is drawn independently; the same seed gives the same draws."""

    draws: int = Field(
        ge=1,
        le=100_000,
        description="number of draws; a draw that repeats another is left out [experiments]",
    )
    seed: int = Field(default=0, description="seed of the draws [seed]")
    settings: dict[str, SamplingRange | Annotated[list[Any], Field(min_length=1)]] = Field(
        description="dotted key of an experiment setting -> a list of values to choose from, or a "
        "range with low, high and log"
    )


def draw_combinations(search: RandomSearch) -> Iterator[dict[str, Any]]:
    """Yield each draw once: choices from short lists repeat."""
    generator = random.Random(search.seed)
    seen = []
    for _ in range(search.draws):
        settings = {key: _draw_value(source, generator) for key, source in search.settings.items()}
        if settings not in seen:
            seen.append(settings)
            yield settings


def _draw_value(choices: SamplingRange | list[Any], generator: random.Random) -> Any:
    if isinstance(choices, list):
        return generator.choice(choices)
    if choices.log:
        # Six digits are enough to repeat a draw from its label and still easy to read.
        value = math.exp(generator.uniform(math.log(choices.low), math.log(choices.high)))
        return float(f"{value:.6g}")
    return float(f"{generator.uniform(choices.low, choices.high):.6g}")
