"""Tests of numbers as text."""

import math

import pytest

from pipeline.results.summary import formatting


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.format_percent(0.0484), "4.8 %"),
        (formatting.format_percent(math.nan), "–"),
        (formatting.format_interval(0.0338, 0.0645), "3.4–6.5"),
        (formatting.format_interval(math.nan, 0.1), ""),
        (formatting.format_points(0.038), "+3.8"),
        (formatting.format_points(-0.013), "−1.3"),
        (formatting.format_p_value(0.0004), "< 0.001"),
        (formatting.format_p_value(0.05), "0.050"),
        (formatting.format_p_value(math.nan), "–"),
        (formatting.format_probability(0.0), "< 0.1 %"),
        (formatting.format_probability(1.0), "> 99.9 %"),
        (formatting.format_probability(0.42), "42.0 %"),
        (formatting.format_decimal(3.0249), "3.02"),
        (formatting.format_integer(12345.0), "12 345"),
        (formatting.format_duration(42.4), "42 s"),
        (formatting.format_duration(103), "1 min 43 s"),
        (formatting.format_duration(59.7), "1 min 00 s"),
        (formatting.format_duration(7384), "2 h 03 min"),
        (formatting.format_time(0), "1970-01-01 00:00 UTC"),
    ],
)
def test_a_number_reads_as_people_write_it(shown: str, expected: str):
    assert shown.replace(formatting.NARROW_SPACE, " ") == expected
