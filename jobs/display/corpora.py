"""Lines about corpora: their size, what looks wrong, which utterances were refused.

In:   manifests.   Out: printed lines.
Not here: the checks themselves (pipeline/corpus/checks.py).
"""

from collections.abc import Iterator, Mapping, Sequence

from jobs.display.sound_lines import rate_lines
from jobs.messages import count_text, duration_text, join_first, print_line
from pipeline.config.corpus import Corpus
from pipeline.config.sweep import Sweep
from pipeline.corpus.checks import CorpusChecks, check_corpus
from pipeline.corpus.manifest import REQUIRED_SPLITS, Manifest, Refusal
from pipeline.corpus.text.alphabet import Alphabet, resolve_alphabet

MAX_PRINTED_REFUSALS = 100
MAX_LETTERS_IN_LINE = 60


def print_corpora(sweep: Sweep, manifests: Mapping[Corpus, Manifest]) -> bool:
    """Print the size of each corpus of a sweep, and a line for each thing that looks wrong.

    Returns whether an error rate on all of them means something.
    """
    meaningful = True
    alphabets = {s.experiment.corpus: s.experiment.alphabet for s in sweep.experiments}
    for corpus, manifest in manifests.items():
        alphabet = resolve_alphabet(alphabets[corpus], manifest.utterances)
        corpus_checks = check_corpus(manifest, alphabet)
        meaningful &= not corpus_checks.has_no_meaningful_rate
        print_line(f"{corpus.name}: {_size_text(manifest, corpus_checks)}")
        settings = [
            s.experiment.features for s in sweep.experiments if s.experiment.corpus == corpus
        ]
        notes = _corpus_notes(manifest, corpus_checks, alphabet)
        for note in (*rate_lines(manifest, settings), *notes):
            print_line(f"{corpus.name}: {note}")
    return meaningful


def _size_text(manifest: Manifest, corpus_checks: CorpusChecks) -> str:
    parts = []
    for split, stats in corpus_checks.splits.items():
        speakers = f" of {count_text(stats.speakers, 'speaker')}" if stats.speakers else ""
        parts.append(f"{split} {stats.utterances}{speakers}, {duration_text(stats.seconds)}")
    total = (
        f"{count_text(len(manifest.utterances), 'utterance')}, {duration_text(manifest.seconds)}"
    )
    return f"{total}; {'; '.join(parts)}"


def _corpus_notes(
    manifest: Manifest, corpus_checks: CorpusChecks, alphabet: Alphabet
) -> Iterator[str]:
    if manifest.split_note:
        yield manifest.split_note
    if manifest.text_notes:
        yield f"transcripts: {'; '.join(manifest.text_notes)}"
    if missing := [split for split in REQUIRED_SPLITS if split not in corpus_checks.splits]:
        yield f"no {' and no '.join(missing)} utterances; training needs them"
    yield from _transcript_notes(corpus_checks)
    if shared := corpus_checks.shared_speakers:
        yield (
            f"{count_text(len(shared), 'speaker')} in more than one split: {join_first(shared)}; "
            "error rates on dev and test may be too low"
        )
    if unknown := corpus_checks.unknown_character_counts:
        parts = [
            f"{character!r} in {count_text(number, 'utterance')}"
            for character, number in unknown.items()
        ]
        if alphabet.skips_unknown:
            yield f"no training transcript has {join_first(parts)}: each counts as an error"
        else:
            yield f"training refuses characters outside {alphabet.name}: {join_first(parts)}"
    if alphabet.skips_unknown:
        yield f"alphabet: {_alphabet_text(alphabet)}"
    if corpus_checks.duplicates:
        pairs = [
            f"{first} = {other}"
            for first, other in corpus_checks.cross_split_duplicates or corpus_checks.duplicates
        ]
        leaked = (
            f", {len(corpus_checks.cross_split_duplicates)} across splits"
            if corpus_checks.cross_split_duplicates
            else ""
        )
        number = count_text(len(corpus_checks.duplicates), "recording")
        yield f"{number} listed twice{leaked}: {join_first(pairs)}"
    if outliers := corpus_checks.duration_outliers:
        parts = [
            f"{s.utterance} ({s.seconds:.2f} s, {s.characters_per_second:.1f})" for s in outliers
        ]
        yield (
            f"{count_text(len(outliers), 'utterance')} too short or too long for the transcript "
            f"(seconds, {alphabet.counted} per second): "
            f"{join_first(parts)}"
        )


def _transcript_notes(corpus_checks: CorpusChecks) -> Iterator[str]:
    if corpus_checks.only_transcript is not None:
        yield (
            f"all training transcripts are the same text, {corpus_checks.only_transcript!r}: "
            "nothing can be learnt from them, and an error rate means nothing"
        )
    if corpus_checks.has_joined_words:
        yield (
            "no training transcript has a space, though they are long: the network cannot learn "
            "where words end, and the WER counts whole utterances"
        )
    if corpus_checks.has_other_transcripts:
        yield (
            "the length of the audio hardly follows that of the transcripts (correlation "
            f"{corpus_checks.length_correlation:.2f}, usual is 0.5 or more): do the transcripts "
            "belong to the audio?"
        )


def _alphabet_text(alphabet: Alphabet) -> str:
    """Return `31 letters: space ' a b c …`."""
    units = ["space" if unit == " " else unit for unit in alphabet.units]
    more = len(units) - MAX_LETTERS_IN_LINE
    shown = " ".join(units[:MAX_LETTERS_IN_LINE]) + (f" and {more} more" if more > 0 else "")
    return f"{count_text(len(units), alphabet.unit)}: {shown}"


def print_refusals(refusals: Sequence[Refusal], full_list: str = "") -> int:
    """Print the first refusals and their number; return the exit code: 1 if there is one, else 0.

    `full_list`: where all of them are listed, such as "in their shards".
    """
    for refusal in refusals[:MAX_PRINTED_REFUSALS]:
        print_line(f"refused: {refusal.utterance}: {refusal.reason}")
    if refusals:
        rest = (
            f"; the first {MAX_PRINTED_REFUSALS} are listed here, all of them {full_list}"
            if len(refusals) > MAX_PRINTED_REFUSALS
            else ""
        )
        print_line(f"{count_text(len(refusals), 'utterance')} refused{rest}")
    return int(bool(refusals))
