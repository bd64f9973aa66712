"""A pronunciation dictionary gives phonemes; a word that it lacks is named."""

import re
from pathlib import Path

import pytest

from pipeline.config.corpus import Corpus
from pipeline.corpus.text.lexicon import read_lexicon
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.files import InputError

CMU = """;;; a comment
A                    AH
A(2)                 EY
ABOUT  AH0 B AW1 T # in lines of cmudict.dict
'BOUT\tB AW1 T
NAÏVE  N AY IY V
REST(1)  R EH S T
EMPTY

(2)  T UW
"""


def lexicon_in(folder: Path, text: str, encoding: str = "utf-8", **settings: str) -> TextNormaliser:
    path = folder / "words.dic"
    path.write_bytes(text.encode(encoding))
    corpus = Corpus(name="c", reader="pairs", units="phonemes", lexicon=str(path), **settings)
    return TextNormaliser(corpus)


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("a", "AH"),
        ("About  a rest", "AH0 B AW1 T AH R EH S T"),
        ("’bout", "B AW1 T"),
        ("nai\u0308ve", "N AY IY V"),
        ("(2)", "T UW"),
        ("", ""),
    ],
)
def test_words_become_their_first_pronunciation(tmp_path, text, phonemes):
    assert lexicon_in(tmp_path, CMU)(text) == phonemes


def test_the_rules_of_the_corpus_hold_for_both_sides(tmp_path):
    """Turkish: I is the capital of ı; without them DIŞ and dış would be two words."""
    pronounce = lexicon_in(tmp_path, "DIŞ\td ɯ ʃ\ndiş\td i ʃ\n", language="tr", punctuation="drop")
    assert pronounce("Dış, diş!") == "d ɯ ʃ d i ʃ"


def test_probabilities_are_no_phonemes(tmp_path):
    """Kaldi's lexiconp.txt and the dictionaries of the Montreal Forced Aligner have them."""
    pronounce = lexicon_in(tmp_path, "a 1.0 ɐ\nlook\t0.99\t0.14\t1.33\tl ʊ k\n")
    assert pronounce("look a") == "l ʊ k ɐ"


def test_words_that_the_lexicon_does_not_have_are_named_once(tmp_path):
    pronounce = lexicon_in(tmp_path, CMU)
    with pytest.raises(InputError, match=r"^the lexicon words.dic lacks ONE, TWO; add it there"):
        pronounce("one a two one")
    with pytest.raises(InputError, match=r"lacks B, C, D, E, F and 1 more; "):
        pronounce("b c d e f g")
    with pytest.raises(InputError, match="lacks EMPTY"):
        pronounce("empty")


def test_a_line_that_is_no_utf_8_costs_its_word_only(tmp_path):
    """cmudict-0.7b is in Latin 1."""
    pronounce = lexicon_in(tmp_path, "DÉJÀ  D EY ZH AA\nVU  V UW\n", "latin-1")
    assert pronounce("vu") == "V UW"


@pytest.mark.parametrize("text", ["", ";;; nothing\n", "WORD\n", "\n\n"])
def test_a_file_without_phonemes_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"words.dic: the lexicon has no line with a word"):
        lexicon_in(tmp_path, text)


def test_a_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no.dic: the lexicon cannot be read: .*lexicon:"):
        read_lexicon(tmp_path / "no.dic", str)


def test_without_a_lexicon_the_transcripts_are_phonemes():
    """As TIMIT's; their case has a meaning in X-SAMPA."""
    corpus = Corpus(name="c", reader="pairs", units="phonemes", punctuation="drop")
    assert TextNormaliser(corpus)(" h# sh  ix  S @U u\u0308 ") == "h# sh ix S @U ü"


@pytest.mark.an4
def test_an4_is_pronounced_as_its_own_dictionary_says(an4: Path):
    """The judge reads the dictionary and the transcripts with expressions of its own."""
    text = (an4 / "etc" / "an4.dic").read_text()
    lines = re.findall(r"^([A-Z']+)\s+([A-Z ]+?)\s*$", text, re.MULTILINE)
    expected = {word: phonemes.split() for word, phonemes in lines}
    corpus = Corpus(name="c", reader="an4", units="phonemes", lexicon=str(an4 / "etc" / "an4.dic"))
    pronounce, phonemes = TextNormaliser(corpus), set()
    for kind in ("train", "test"):
        listed = (an4 / "etc" / f"an4_{kind}.transcription").read_text()
        for words in re.findall(r"^(?:<s>)?(.*?)(?:</s>)?\s*\(\S+\)$", listed, re.MULTILINE):
            found = pronounce(words).split()
            assert found == [each for word in words.split() for each in expected[word]]
            phonemes.update(found)
    stated = set((an4 / "etc" / "an4.phone").read_text().split())
    assert phonemes == stated - {"SIL"}
