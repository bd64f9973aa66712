"""The tests check annotations: shapes of arrays, and types where no shapes are stated."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import TypeCheckError

from pipeline.results.statistics.significance import mapsswe
from pipeline.results.tables.export import neutralise_formula


def test_arrays_of_other_shapes_than_annotated_are_an_error():
    with pytest.raises(TypeCheckError):
        mapsswe(np.zeros(3, np.int64), np.zeros(4, np.int64))


def test_values_of_other_types_than_annotated_are_an_error():
    with pytest.raises(BeartypeCallHintParamViolation):
        neutralise_formula(1)  # type: ignore[arg-type]
