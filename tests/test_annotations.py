"""The tests check annotations: shapes of arrays, and types where no shapes are stated."""

from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation, BeartypeCallHintReturnViolation

from pipeline.results.statistics.significance import mapsswe
from pipeline.results.tables.export import neutralise_formula
from pipeline.shapes import Float64

Vector = Float64[np.ndarray, "N"]


def test_arrays_of_other_shapes_than_annotated_are_an_error():
    with pytest.raises(BeartypeCallHintParamViolation):
        mapsswe(np.zeros(3, np.int64), np.zeros(4, np.int64))


def test_a_returned_array_must_have_the_axes_of_the_arguments():
    def drop(array: Vector, first: int) -> Vector:
        return array[first:]

    # As the import hook of conftest.py decorates the functions of pipeline/.
    checked: Callable[[Vector, int], Vector] = jaxtyping.jaxtyped(typechecker=None)(drop)
    assert len(checked(np.zeros(3), 0)) == 3
    with pytest.raises(BeartypeCallHintReturnViolation):
        checked(np.zeros(3), 1)


def test_values_of_other_types_than_annotated_are_an_error():
    with pytest.raises(BeartypeCallHintParamViolation):
        neutralise_formula(1)  # type: ignore[arg-type]
