"""Features: from audio to stored frames, against the limits and other tools.

In:   the corpora.   Out: the groups features, command, scale and compressed.
Not here: the jobs (product.py, limits.py, loops.py, lhotse_cases.py, speechbrain_cases.py).
"""

from collections.abc import Iterator

from tests.benchmarks.corpora import BenchmarkCorpora
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.limits import TUNED_MALLOC
from tests.benchmarks.measure import Case, CaseGroup
from tests.benchmarks.shares import WORKER_COUNT

MEL_FLOAT32 = {"storage": "float32"}
OURS, LIMIT_MIN, LIMIT_MIN_COVARIANCE = "blankslate", "limit-min", "limit-min, and a covariance"
LHOTSE_DEFAULT, LHOTSE_FORK = "Lhotse, default", "Lhotse, fork executor"
SPEECHBRAIN_CACHE, TORCHAUDIO_PER_FILE, LIBROSA_LOOP = (
    "SpeechBrain, HDF5 cache",
    "torchaudio, per file",
    "librosa, loop",
)
HOUR = "hour of audio"
FEATURES_AN4_COPIES = 5  # so many that the start of the workers is a small part of the job


def feature_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    yield _mel_group(corpora)
    yield _linear_group(corpora)
    yield _one_pass_group(corpora)


def _blankslate_case(name: str, path: str, hours: float, *sets: dict[str, str]) -> Case:
    settings = {"manifest_file": path, "sets": sets}
    return Case(name, "product:extract_features", settings, hours)


def _limit_case(path: str, hours: float, bins: int, itemsize: int, name: str = LIMIT_MIN) -> Case:
    settings = {"manifest_file": path, "bins": bins, "itemsize": itemsize}
    settings["covariance"] = name == LIMIT_MIN_COVARIANCE
    return Case(name, "limits:limit_min", settings, hours, environment=TUNED_MALLOC)


def _mel_group(corpora: BenchmarkCorpora) -> CaseGroup:
    path, hours = _manifest_and_hours(corpora, FEATURES_AN4_COPIES)
    file = {"manifest_file": path}
    return CaseGroup(
        title=f"wav to 80 log-mel, float32, AN4 listed {FEATURES_AN4_COPIES} times, two workers",
        unit=HOUR,
        cases=[
            _limit_case(path, hours, 80, 4),
            _blankslate_case(OURS, path, hours, MEL_FLOAT32),
            Case(
                LHOTSE_DEFAULT,
                "lhotse_cases:lhotse_features",
                {**file, "fork": False},
                hours,
                "lhotse",
            ),
            Case(
                LHOTSE_FORK, "lhotse_cases:lhotse_features", {**file, "fork": True}, hours, "lhotse"
            ),
            Case(
                SPEECHBRAIN_CACHE,
                "speechbrain_cases:speechbrain_features",
                file,
                hours,
                "speechbrain",
            ),
            Case(TORCHAUDIO_PER_FILE, "loops:torchaudio_files", file, hours),
            Case(LIBROSA_LOOP, "loops:librosa_loop", file, hours, "librosa"),
        ],
        targets=[
            BenchmarkTarget([OURS], [LIMIT_MIN], at_most=1.4),
            BenchmarkTarget([LHOTSE_DEFAULT], [OURS], at_least=5),
            BenchmarkTarget([LHOTSE_FORK], [OURS], at_least=4.5),
            BenchmarkTarget(
                [SPEECHBRAIN_CACHE, TORCHAUDIO_PER_FILE, LIBROSA_LOOP], [OURS], at_least=4.5
            ),
        ],
        warm_up=False,  # the slow cases take a minute and do not need it
    )


def _linear_group(corpora: BenchmarkCorpora) -> CaseGroup:
    path, hours = _manifest_and_hours(corpora, FEATURES_AN4_COPIES)
    scales = {f"{OURS}, scale {scale}": scale for scale in ("none", "log")}
    return CaseGroup(
        title=f"wav to 257 amplitudes, float16, AN4 x {FEATURES_AN4_COPIES}, two workers",
        unit=HOUR,
        cases=[
            _limit_case(path, hours, 257, 2),
            _limit_case(path, hours, 257, 2, LIMIT_MIN_COVARIANCE),  # whitening needs a covariance
            *(
                _blankslate_case(name, path, hours, {"spectrum": "amplitude", "scale": scale})
                for name, scale in scales.items()
            ),
        ],
        targets=[BenchmarkTarget([name], [LIMIT_MIN], at_most=1.3) for name in scales],
    )


def _one_pass_group(corpora: BenchmarkCorpora) -> CaseGroup:
    path, hours = _manifest_and_hours(corpora, 1)
    sets = [{"spectrum": kind} for kind in ("amplitude", "power", "mel")]
    alone = [_blankslate_case(f"{each['spectrum']} alone", path, hours, each) for each in sets]
    together = _blankslate_case("all three in one pass", path, hours, *sets)
    names = [case.name for case in alone]
    return CaseGroup(
        title="three feature sets from one decoding, float16, AN4, two workers",
        unit=HOUR,
        cases=[*alone, together],
        targets=[BenchmarkTarget([together.name], names, at_most=1.5, baseline_total="greatest")],
    )


def command_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    """Yield cases with interpreter, imports and planning: a new process each time."""
    path, _ = _manifest_and_hours(corpora, 1)
    file = {"manifest_file": path}
    yield CaseGroup(
        title="the whole command on AN4, float32 log-mel, with its start and its workers",
        unit="command",
        cases=[
            _command_case(OURS, corpora, [1], WORKER_COUNT, 1.0),
            Case(
                LHOTSE_DEFAULT,
                "lhotse_cases:lhotse_process",
                {**file, "fork": False},
                needs="lhotse",
            ),
            Case(
                LHOTSE_FORK, "lhotse_cases:lhotse_process", {**file, "fork": True}, needs="lhotse"
            ),
        ],
        targets=[
            BenchmarkTarget([OURS], at_most=1.0),
            BenchmarkTarget([LHOTSE_DEFAULT], [OURS], at_least=6),
            BenchmarkTarget([LHOTSE_FORK], [OURS], at_least=6),
        ],
    )


def _command_case(
    name: str, corpora: BenchmarkCorpora, times: list[int], slots: int, amount: float
) -> Case:
    files = [str(corpora.corpus_file(each)) for each in times]
    changes = [
        "features.spectrum=mel",
        "features.storage=float32",
    ]  # without them all three spectra are computed
    settings = {"corpus_files": files, "slots": slots, "changes": changes}
    return Case(name, "product:features_command", settings, amount)


def scale_groups(corpora: BenchmarkCorpora, everything: bool) -> Iterator[CaseGroup]:
    listed = {
        times: _manifest_and_hours(corpora, times)
        for times in (5, 10, *((50,) if everything else ()))
    }
    cases = [_blankslate_case(f"AN4 x {times}", *found, {}) for times, found in listed.items()]
    first, *others = [case.name for case in cases]
    yield CaseGroup(
        title="the cost per hour of audio as the corpus grows, float16 log-mel, two workers",
        unit=HOUR,
        cases=cases,
        targets=[BenchmarkTarget([name], [first], at_most=1.1) for name in others],
    )
    both, apart = "one command, two workers, AN4 x 10", "two commands, a worker each, AN4 x 5"
    hours = listed[10][1]
    yield CaseGroup(
        title="two workers of one command, and two commands at once",
        unit=HOUR,
        cases=[
            _command_case(both, corpora, [10], 2, hours),
            _command_case(apart, corpora, [5, 5], 1, hours),
        ],
        targets=[BenchmarkTarget([apart], [both], at_least=0.9)],
        warm_up=False,  # each round starts new processes
    )


def compressed_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    path, hours = _manifest_and_hours(corpora, 1)
    cases, targets = [_blankslate_case("wav", path, hours, {})], []
    for encoding in ("flac", "mp3"):
        file = str(corpora.encoded_manifest(encoding)[0])
        decoder = f"{encoding}, its decoder alone"
        cases.append(Case(decoder, "limits:decode_only", {"manifest_file": file}, hours))
        cases.append(_blankslate_case(encoding, file, hours, {}))
        targets.append(BenchmarkTarget([encoding], [decoder, "wav"], at_most=1.2))
    yield CaseGroup(
        title="compressed audio, AN4, float16 log-mel, two workers",
        unit=HOUR,
        cases=cases,
        targets=targets,
    )


def _manifest_and_hours(corpora: BenchmarkCorpora, times: int) -> tuple[str, float]:
    path, listed = corpora.manifest(times)
    return str(path), listed.seconds / 3600
