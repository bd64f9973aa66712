"""Numbers read as people write them."""

import math

import pytest

from pipeline.results import formatting


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.percent(0.0484), "4.8 %"),
        (formatting.percent(math.nan), "–"),
        (formatting.interval(0.0338, 0.0645), "3.4–6.5"),
        (formatting.interval(math.nan, 0.1), ""),
        (formatting.points(0.038), "+3.8"),
        (formatting.points(-0.013), "−1.3"),
        (formatting.probability(0.0), "< 0.1 %"),
        (formatting.probability(1.0), "> 99.9 %"),
        (formatting.probability(0.42), "42.0 %"),
        (formatting.decimal(3.0249), "3.02"),
        (formatting.whole(12345.0), "12 345"),
        (formatting.duration(42.4), "42 s"),
        (formatting.duration(103), "1 min 43 s"),
        (formatting.duration(59.7), "1 min 00 s"),
        (formatting.duration(7384), "2 h 03 min"),
        (formatting.moment(0), "1970-01-01 00:00 UTC"),
    ],
)
def test_a_number_reads_as_people_write_it(shown: str, expected: str):
    assert shown.replace(formatting.THIN, " ") == expected
