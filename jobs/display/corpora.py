"""Corpora: what was found in them and what was refused, in a few plain lines.

In:   manifests.   Out: lines for a person.
Not here: finding it (pipeline/corpus/survey.py).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from jobs.messages import count, duration, say
from pipeline.config.corpus import Corpus
from pipeline.config.sweep import Sweep
from pipeline.corpus.checks import Survey, survey
from pipeline.corpus.manifest import NEEDED, Manifest, Refusal
from pipeline.corpus.text import alphabet

TOLD = 100  # refusals
NAMED = 5  # of each kind; more would not fit the line


def tell_corpora(sweep: Sweep, found: Mapping[Corpus, Manifest]) -> None:
    alphabets = {s.experiment.corpus: s.experiment.alphabet for s in sweep.experiments}
    for corpus, manifest in found.items():
        surveyed = survey(manifest, alphabet(alphabets[corpus]))
        say(f"{corpus.name}: {_size(manifest, surveyed)}")
        for finding in _findings(manifest, surveyed, alphabets[corpus]):
            say(f"{corpus.name}: {finding}")


def _size(manifest: Manifest, surveyed: Survey) -> str:
    parts = []
    for split, held in surveyed.splits.items():
        speakers = f" of {count(held.speakers, 'speaker')}" if held.speakers else ""
        parts.append(f"{split} {held.utterances}{speakers}, {duration(held.seconds)}")
    whole = f"{count(len(manifest.utterances), 'utterance')}, {duration(manifest.seconds)}"
    return f"{whole}; {'; '.join(parts)}"


def _findings(manifest: Manifest, surveyed: Survey, letters: str) -> Iterator[str]:
    if manifest.drawn:
        yield manifest.drawn
    if lacking := [split for split in NEEDED if split not in surveyed.splits]:
        yield f"no {' and no '.join(lacking)} utterances, which training needs"
    if shared := surveyed.shared_speakers:
        yield (
            f"{count(len(shared), 'speaker')} in more than one split: {_few(shared)}; "
            "error rates then say little of other voices"
        )
    if unknown := surveyed.unknown:
        said = [f"{character!r} in {number}" for character, number in unknown.items()]
        where = "which training refuses, and in how many utterances"
        yield f"characters outside {letters}, {where}: {_few(said)}"
    if surveyed.twice:
        pairs = [f"{first} = {other}" for first, other in surveyed.leaked or surveyed.twice]
        leaked = f", {len(surveyed.leaked)} across splits" if surveyed.leaked else ""
        yield f"{count(len(surveyed.twice), 'sound')} listed again{leaked}: {_few(pairs)}"
    if strange := surveyed.strange:
        said = [f"{s.utterance} ({s.seconds:.2f} s, {s.pace:.1f})" for s in strange]
        yield (
            f"{count(len(strange), 'utterance')} of unlikely length (characters per second): "
            f"{_few(said)}"
        )


def _few(items: Collection[str]) -> str:
    more = len(items) - NAMED
    return ", ".join(list(items)[:NAMED]) + (f" and {more} more" if more > 0 else "")


def tell_refusals(refusals: Sequence[Refusal], all_of_them: str = "") -> int:
    """A line each, of the first, and how many; where `all_of_them` are told. 1 if there was one."""
    for refusal in refusals[:TOLD]:
        say(f"refused: {refusal.utterance}: {refusal.reason}")
    if refusals:
        few = f"; of which {TOLD} are named here, all {all_of_them}" if len(refusals) > TOLD else ""
        say(f"{count(len(refusals), 'utterance')} refused{few}")
    return int(bool(refusals))
