"""Numbers read as people write them."""

import math

import pytest

from pipeline.results import numerals


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numerals.percent(0.0484), "4.8 %"),
        (numerals.percent(math.nan), "–"),
        (numerals.interval(0.0338, 0.0645), "3.4–6.5"),
        (numerals.interval(math.nan, 0.1), ""),
        (numerals.points(0.038), "+3.8"),
        (numerals.points(-0.013), "−1.3"),
        (numerals.probability(0.0), "< 0.1 %"),
        (numerals.probability(1.0), "> 99.9 %"),
        (numerals.probability(0.42), "42.0 %"),
        (numerals.decimal(3.0249), "3.02"),
        (numerals.whole(12345.0), "12 345"),
        (numerals.duration(42.4), "42 s"),
        (numerals.duration(103), "1 min 43 s"),
        (numerals.duration(59.7), "1 min 00 s"),
        (numerals.duration(7384), "2 h 03 min"),
        (numerals.moment(0), "1970-01-01 00:00 UTC"),
    ],
)
def test_a_number_reads_as_people_write_it(shown: str, expected: str):
    assert shown.replace(numerals.THIN, " ") == expected
