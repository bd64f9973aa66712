"""The settings of a decoding: their limits, and what a table calls it."""

from pathlib import Path

import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.config.loader import parse_changes, validate_settings
from pipeline.files import InputError


def test_a_decoding_that_skips_blanks_has_a_name_of_its_own():
    assert DecodingSettings().describe() == "lexicon and word 2-gram"
    skipping = DecodingSettings(words="any", ngram=6, blank_skip=0.99)
    assert skipping.describe() == "character 6-gram, blank_skip 0.99"


@pytest.mark.parametrize("value", ["0.5", "1", "often"])
def test_a_limit_of_certainty_is_above_one_half_and_below_one(value: str):
    with pytest.raises(InputError, match="blank_skip"):
        validate_settings(DecodingSettings, parse_changes([f"blank_skip={value}"]), Path("SET"))


def test_lattices_change_no_text_so_they_are_no_other_decoding():
    plain, with_lattices = DecodingSettings(), DecodingSettings(lattices=True)
    assert plain.identity == with_lattices.identity
    assert with_lattices.covers(plain)
    assert not plain.covers(with_lattices)
    assert not plain.covers(DecodingSettings(blank_skip=0.99))
