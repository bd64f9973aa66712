"""Features: from sound to stored frames, against the limits and the peers.

In:   the corpora.   Out: the groups features, command, scale and compressed.
Not here: what a job does (product.py, limits.py and the peers' modules).
"""

from collections.abc import Iterator

from tests.benchmarks.corpora import Corpora
from tests.benchmarks.judge import Target
from tests.benchmarks.limits import TUNED_MALLOC
from tests.benchmarks.measure import Case, Group
from tests.benchmarks.shares import WORKERS

MEL = {"storage": "float32"}
OURS, LIMIT, COVARIANCE = "blankslate", "limit-min", "limit-min, and a covariance"
DEFAULT, FORK = "Lhotse, default", "Lhotse, fork executor"
CACHE, PER_FILE, LOOP = "SpeechBrain, HDF5 cache", "torchaudio, per file", "librosa, loop"
HOUR = "hour of audio"
LISTED = 5  # times: starting the workers is then no longer most of the job


def features(corpora: Corpora) -> Iterator[Group]:
    yield _mel(corpora)
    yield _linear(corpora)
    yield _sets(corpora)


def _ours(name: str, path: str, hours: float, *sets: dict[str, str]) -> Case:
    settings = {"manifest_file": path, "sets": sets}
    return Case(name, "product:features", settings, hours)


def _limit(path: str, hours: float, bins: int, itemsize: int, name: str = LIMIT) -> Case:
    settings = {"manifest_file": path, "bins": bins, "itemsize": itemsize}
    settings["covariance"] = name == COVARIANCE
    return Case(name, "limits:limit_min", settings, hours, environment=TUNED_MALLOC)


def _mel(corpora: Corpora) -> Group:
    path, hours = _listed(corpora, LISTED)
    file = {"manifest_file": path}
    return Group(
        title=f"wav to 80 log-mel, float32, AN4 listed {LISTED} times, two workers",
        unit=HOUR,
        cases=[
            _limit(path, hours, 80, 4),
            _ours(OURS, path, hours, MEL),
            Case(DEFAULT, "lhotse_cases:features", {**file, "fork": False}, hours, "lhotse"),
            Case(FORK, "lhotse_cases:features", {**file, "fork": True}, hours, "lhotse"),
            Case(CACHE, "speechbrain_cases:features", file, hours, "speechbrain"),
            Case(PER_FILE, "loops:torchaudio_files", file, hours),
            Case(LOOP, "loops:librosa_loop", file, hours, "librosa"),
        ],
        targets=[
            Target([OURS], [LIMIT], at_most=1.4),
            Target([DEFAULT], [OURS], at_least=5),
            Target([FORK], [OURS], at_least=4.5),
            Target([CACHE, PER_FILE, LOOP], [OURS], at_least=4.5),
        ],
        warm_up=False,  # the slow cases need none, and take a minute
    )


def _linear(corpora: Corpora) -> Group:
    path, hours = _listed(corpora, LISTED)
    scales = {f"{OURS}, scale {scale}": scale for scale in ("none", "log")}
    return Group(
        title=f"wav to 257 amplitudes, float16, AN4 listed {LISTED} times, two workers",
        unit=HOUR,
        cases=[
            _limit(path, hours, 257, 2),
            _limit(path, hours, 257, 2, COVARIANCE),  # what a set that may be whitened needs more
            *(
                _ours(name, path, hours, {"spectrum": "amplitude", "scale": scale})
                for name, scale in scales.items()
            ),
        ],
        targets=[Target([name], [LIMIT], at_most=1.3) for name in scales],
    )


def _sets(corpora: Corpora) -> Group:
    path, hours = _listed(corpora, 1)
    sets = [{"spectrum": kind} for kind in ("amplitude", "power", "mel")]
    alone = [_ours(f"{each['spectrum']} alone", path, hours, each) for each in sets]
    together = _ours("all three in one pass", path, hours, *sets)
    names = [case.name for case in alone]
    return Group(
        title="three feature sets from one decoding, float16, AN4, two workers",
        unit=HOUR,
        cases=[*alone, together],
        targets=[Target([together.name], names, at_most=1.5, those_are="greatest")],
    )


def command(corpora: Corpora) -> Iterator[Group]:
    """Interpreter, imports, planning; a fresh process each time."""
    path, _ = _listed(corpora, 1)
    file = {"manifest_file": path}
    yield Group(
        title="the whole command on AN4, float32 log-mel: one process started, its workers, all",
        unit="command",
        cases=[
            _command(OURS, corpora, [1], WORKERS, 1.0),
            Case(DEFAULT, "lhotse_cases:process", {**file, "fork": False}, needs="lhotse"),
            Case(FORK, "lhotse_cases:process", {**file, "fork": True}, needs="lhotse"),
        ],
        targets=[
            Target([OURS], at_most=1.0),
            Target([DEFAULT], [OURS], at_least=6),
            Target([FORK], [OURS], at_least=6),
        ],
    )


def _command(name: str, corpora: Corpora, times: list[int], slots: int, amount: float) -> Case:
    files = [str(corpora.corpus_file(each)) for each in times]
    changes = ["features.spectrum=mel", "features.storage=float32"]  # else all three spectra
    settings = {"corpus_files": files, "slots": slots, "changes": changes}
    return Case(name, "product:command", settings, amount)


def scale(corpora: Corpora, everything: bool) -> Iterator[Group]:
    listed = {times: _listed(corpora, times) for times in (5, 10, *((50,) if everything else ()))}
    cases = [_ours(f"AN4 x {times}", *found, {}) for times, found in listed.items()]
    first, *others = [case.name for case in cases]
    yield Group(
        title="the cost per hour of audio as the corpus grows, float16 log-mel, two workers",
        unit=HOUR,
        cases=cases,
        targets=[Target([name], [first], at_most=1.1) for name in others],
    )
    both, apart = "one command, two workers, AN4 x 10", "two commands, a worker each, AN4 x 5"
    hours = listed[10][1]
    yield Group(
        title="two workers of one command, and two commands at once",
        unit=HOUR,
        cases=[
            _command(both, corpora, [10], 2, hours),
            _command(apart, corpora, [5, 5], 1, hours),
        ],
        targets=[Target([apart], [both], at_least=0.9)],
        warm_up=False,  # each round starts its processes anew
    )


def compressed(corpora: Corpora) -> Iterator[Group]:
    path, hours = _listed(corpora, 1)
    cases, targets = [_ours("wav", path, hours, {})], []
    for encoding in ("flac", "mp3"):
        file = str(corpora.encoded(encoding)[0])
        decoder = f"{encoding}, its decoder alone"
        cases.append(Case(decoder, "limits:decoder", {"manifest_file": file}, hours))
        cases.append(_ours(encoding, file, hours, {}))
        targets.append(Target([encoding], [decoder, "wav"], at_most=1.2))
    yield Group(
        title="compressed audio, AN4, float16 log-mel, two workers",
        unit=HOUR,
        cases=cases,
        targets=targets,
    )


def _listed(corpora: Corpora, times: int) -> tuple[str, float]:
    path, listed = corpora.manifest(times)
    return str(path), listed.seconds / 3600
