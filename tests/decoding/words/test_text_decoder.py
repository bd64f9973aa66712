"""Texts with the times and confidences of their words."""

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.lattices import LatticeArchive, WordSequence, best_sequences
from pipeline.decoding.words.ngram import estimate, format_arpa
from pipeline.decoding.words.text_decoder import TextDecoder
from pipeline.decoding.words.text_sources import TextSources
from tests.decoding.words.small_lattices import read_archive

LETTERS = Alphabet("letters", tuple(" ABC"))
CERTAIN = 12.0  # nats between a frame's class and every other


def frames(classes: list[int], doubts: dict[int, tuple[int, float]] | None = None) -> np.ndarray:
    """Log-probabilities of certain frames; a doubt says frame -> (other class, its share)."""
    logits = np.zeros((len(classes), LETTERS.size))
    for frame, label in enumerate(classes):
        logits[frame, label] = CERTAIN
        if doubts and frame in doubts:
            other, share = doubts[frame]
            logits[frame, other] = CERTAIN + math.log(share / (1 - share))
    shifted = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return shifted.astype(np.float32)


def decoder(transcripts: list[str], weights: GraphWeights, **settings) -> TextDecoder:
    chosen = DecodingSettings(**settings)
    sources = TextSources.make(chosen, transcripts, LETTERS, str.upper)
    return TextDecoder(sources, weights, blank_skip=chosen.blank_skip)


def test_words_have_the_frames_of_their_letters():
    found = decoder(["AB C"], GraphWeights(0.0)).decode_fully(frames([0, 2, 2, 3, 0, 1, 4, 0]), 5)
    assert found.text == "AB C"
    assert [(w.text, w.begin, w.end) for w in found.words] == [("AB", 1, 4), ("C", 6, 7)]
    assert found.others[0][0] == "AB C"


def test_words_and_confidences_are_the_same_without_certain_blanks():
    sound = frames([0, 0, 0, 2, 3, 0, 0, 0, 1, 0, 0, 4, 0, 0, 0], {11: (3, 0.3)})
    weights = GraphWeights(0.0)
    whole, short = (
        decoder(["AB C", "AB B"], weights, blank_skip=skip).decode_fully(sound, 5)
        for skip in (None, 0.999)
    )
    assert [(w.text, w.begin, w.end) for w in short.words] == [("AB", 3, 5), ("C", 11, 12)]
    assert [w.confidence for w in short.words] == pytest.approx(
        [w.confidence for w in whole.words], abs=1e-4
    )
    assert [text for text, _ in short.others] == [text for text, _ in whole.others]
    assert short.others[0][1] == pytest.approx(whole.others[0][1], abs=1e-3)


def test_a_confidence_is_the_share_of_the_texts_that_have_the_word():
    """Frame 2 says A with 0.7 and B with 0.3; all words are equally probable."""
    sound = frames([4, 1, 2], {2: (3, 0.3)})
    weights = GraphWeights(model=0.0, unknown=math.inf)
    found = decoder(["A B C"], weights).decode_fully(sound, 20)
    assert found.text == "C A"
    first, second = (word.confidence for word in found.words)
    assert first == pytest.approx(1, abs=1e-3)
    assert second == pytest.approx(0.7, abs=1e-3)


def test_an_unknown_word_is_spelled_by_its_letters():
    weights = GraphWeights(model=0.0, unknown=-2.0)
    found = decoder(["A C"], weights).decode_fully(frames([3, 2, 3, 1, 4]), 5)
    assert found.text == "BAB C"
    assert found.words[0].confidence > 0.5


def test_a_word_that_the_model_lacks_has_the_confidence_of_an_unknown_word(tmp_path: Path):
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(format_arpa(estimate([["C"]], 1)))
    with_model = decoder(["AB C"], GraphWeights(0.0, unknown=1.0), text=str(arpa))
    found = with_model.decode_fully(frames([0, 2, 2, 3, 0, 1, 4, 0]), 5)
    assert found.text == "AB C"
    assert all(word.confidence > 0.8 for word in found.words)


def test_characters_are_decoded_without_a_lexicon():
    found = decoder(["AB C"] * 3, GraphWeights(0.5), words="any", ngram=2)
    assert found.decode(frames([2, 3, 1, 4])) == "AB C"
    assert found.decode_fully(frames([2, 3, 1, 4]), 3).others[0][0] == "AB C"


def test_no_frames_are_an_empty_text():
    found = decoder(["A"], GraphWeights()).decode_fully(frames([])[:0], 3)
    assert (found.text, found.words, found.others) == ("", (), ())


@pytest.mark.parametrize("words", ["train", "any"])
@pytest.mark.parametrize("seed", range(5))
def test_a_lattice_that_is_stored_has_the_text_its_score_and_the_n_best_list(seed: int, words: str):
    rng = np.random.default_rng(seed)
    logs = np.log(rng.dirichlet(np.full(LETTERS.size, 0.5), 9)).clip(-20).astype(np.float32)
    weights = GraphWeights(0.5, 0.3, unknown=math.inf)
    texts = decoder(["AB C", "A B", "CAB C", "B"], weights, words=words)
    found = texts.decode_fully(logs, 10, lattice=True)
    assert found == replace(texts.decode_fully(logs, 10), lattice=found.lattice)
    assert found.lattice is not None
    archive = LatticeArchive.make([("u", found.lattice)], texts.words)
    (lattice,) = read_archive(gzip.decompress(archive.compressed).decode()).values()
    names = {int(number): word for word, number in map(str.split, archive.symbols.splitlines())}

    def text(sequence: WordSequence) -> str:
        spelled = [names[number] for number in sequence.words]
        joined = "".join(spelled).replace("_", " ") if words == "any" else " ".join(spelled)
        return " ".join(joined.split())

    stored = best_sequences(lattice, 10)
    assert text(stored[0]) == found.text
    assert stored[0].score == pytest.approx(found.score, abs=0.01)
    assert [text(each) for each in stored] == [other for other, _ in found.others]
    scores = [score for _, score in found.others]
    assert [each.score for each in stored] == pytest.approx(scores, abs=0.01)
