"""Answer: what may be said of the arms of a sweep, in sentences.

In:   a comparison; the command that runs the sweep.
Out:  sentences, which the terminal and the page show unchanged.
Not here: the comparison (arms.py), arms.csv (arms_table.py), the model of chance (statistics/).
"""

import math
from collections.abc import Iterator, Sequence

from pipeline.config.arm_names import UNNAMED_ARM
from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.comparison.other_sweeps import SeedSpread, suggest_seeds
from pipeline.results.comparison.sensitivity import describe_sensitivity, explain_no_decision
from pipeline.results.comparison.test_sets import describe_few_speakers
from pipeline.results.comparison.wording import (
    MAX_NAMED_ARMS,
    count_text,
    join_names,
    percent,
    points,
    quote_name,
    range_text,
)
from pipeline.results.statistics.inference import ArmDifference
from pipeline.results.statistics.variance import PLATEAU_RATE

VERDICTS = (
    "As expected",
    "Expected, but the opposite is shown",
    "Expected, but a difference is shown",
    "Expected, but not shown",
    "Expected, not known yet",
)
MAX_BEATEN_ARMS = 2  # each with its difference; of more, the nearest one


def sentences(
    comparison: SweepComparison,
    command: str = "make sweep SWEEP=…",
    spread: SeedSpread | None = None,
    expect: Sequence[Expectation] = (),
) -> list[str]:
    """Return the answer, the most important sentence first; `command` runs the sweep.

    `spread`: of the seeds of other sweeps, for a sweep with one seed per arm; `expect`: of the
    sweep file.
    """
    best = comparison.best_arm
    progress = f"{comparison.finished_count} of {comparison.run_count} runs are finished"
    stopped = _describe_stopped_early(comparison)
    if best is None and stopped and comparison.ended_count == comparison.run_count:
        return ["No answer: every arm has runs that were stopped early.", *stopped]
    if best is None:
        if comparison.finished_count:
            return ["No answer: no finished run has a test result."]
        if comparison.failed_count and comparison.failed_count == comparison.run_count:
            failed = f"all {comparison.run_count} runs" if comparison.run_count > 1 else "the run"
            return [f"No answer: {failed} failed."]
        return [f"No answer yet: {progress}."]
    is_usable = best.mean_test_cer < PLATEAU_RATE
    found = [
        _describe_best(comparison, best) if is_usable else _describe_unusable(comparison, best)
    ]
    if comparison.is_provisional:
        found.append(f"Provisional: {progress}.")
    found += [*_judge_expectations(comparison, expect), *stopped]
    found += _describe_without_result(comparison)
    if is_usable and len(comparison.arms) > 1:
        found += _describe_evidence(comparison, best, command)
        inference = comparison.inference
        one_seed = inference and inference.variance.seeds.max() == 1 and not comparison.folds
        if one_seed and (suggestion := suggest_seeds(comparison, spread)):
            found.append(suggestion)
    return found


def _judge_expectations(
    comparison: SweepComparison, expect: Sequence[Expectation]
) -> Iterator[str]:
    """Yield a sentence for each verdict: what was expected and is shown comes first."""
    judged: dict[str, list[str]] = {}
    for each in expect:
        verdict, text = _judge(comparison, each)
        judged.setdefault(verdict, []).append(text)
    for verdict in VERDICTS:
        if texts := judged.get(verdict):
            yield f"{verdict}: {'; '.join(texts)}."


def _judge(comparison: SweepComparison, expected: Expectation) -> tuple[str, str]:
    """Return the verdict on an expectation, and the expectation in words.

    That two arms are not told apart does not show that they are equal, so the words say how large
    their difference may be.
    """
    held, opposite, apart, not_shown, unknown = VERDICTS
    relation = "better than" if expected.relation == "<" else "not told apart from"
    text = f"{quote_name(expected.first)} {relation} {quote_name(expected.second)}"
    places = {arm.name: place for place, arm in enumerate(comparison.arms)}
    inference = comparison.inference
    first, second = places.get(expected.first), places.get(expected.second)
    if first is None or second is None or inference is None or not inference.can_decide:
        return unknown, text
    difference = inference.difference(second, first)
    shown = _verdict(difference)
    if expected.relation == "<":
        return {1: held, -1: opposite, 0: not_shown}[shown], text
    if shown:
        return apart, text
    largest = max(-difference.low, difference.high)
    return held, f"{text} (a difference of up to {points(largest)} is not excluded)"


def _describe_unusable(comparison: SweepComparison, best: Arm) -> str:
    rate = _describe_rate(comparison, best)
    return f"No usable arm: the best one on dev, {best.name}, has {rate}."


def _describe_stopped_early(comparison: SweepComparison) -> list[str]:
    """Return which arms are not compared, because rules of the sweep stopped runs of them."""
    names = [
        f"{arm.name} ({len(arm.stopped_early)} of {count_text(len(arm.runs), 'run')})"
        for arm in comparison.stopped_early
    ]
    if not names:
        return []
    return [f"Stopped early by the sweep's rules, so not compared: {join_names(names)}."]


def _describe_without_result(comparison: SweepComparison) -> list[str]:
    names = [quote_name(run.run.label) for run in comparison.without_result]
    if not names:
        return []
    counted = f"{count_text(len(names), 'finished run')} without a test {comparison.rate_name}"
    return [f"Not compared: {counted}: {join_names(names)}."]


def _describe_rate(comparison: SweepComparison, arm: Arm) -> str:
    rate = f"test {comparison.rate_name} {percent(arm.mean_test_cer)}"
    if len(arm.runs) == 1:
        return f"{rate} {'on one fold' if arm.folds else 'with one seed'}"
    low, high = comparison.rate_interval(arm)
    interval = f" (95 % interval {range_text(low, high)})" if low < high else ""
    if arm.folds:
        return f"{rate} by cross-validation, {len(arm.runs)} runs on {arm.folds} folds{interval}"
    return f"mean {rate} over {len(arm.runs)} seeds{interval}"


def _describe_best(comparison: SweepComparison, best: Arm) -> str:
    """Return which arm is best, which arms it is shown to beat, and which it is not."""
    if len(comparison.arms) == 1:
        what = "run" if comparison.run_count == 1 else "arm"
        result = " with a result" if comparison.is_provisional else ""
        name = "" if best.name == UNNAMED_ARM else f", {quote_name(best.name)},"
        return f"The only {what}{result}{name} has {_describe_rate(comparison, best)}."
    parts = [f"Best on dev: {best.name}, {_describe_rate(comparison, best)}."]
    if beaten := _list_differences(comparison, sign=1):
        parts.append(f"It is better than {beaten}.")
    if comparison.inference and comparison.inference.can_decide and comparison.not_told_apart:
        names = [quote_name(arm.name) for arm in comparison.not_told_apart]
        many = len(names) > MAX_NAMED_ARMS
        alike = _of_others(comparison, len(names), "any of the") if many else join_names(names)
        parts.append(f"It cannot be told apart from {alike}.")
    return " ".join(parts)


def _list_differences(comparison: SweepComparison, sign: int) -> str:
    """Return the arms shown to have a higher (1) or a lower (-1) test CER, the closest first."""
    pairs = [(arm, comparison.difference(arm)) for arm in comparison.arms]
    shown = [
        (arm, sorted((sign * each.low, sign * each.high)), sign * each.difference)
        for arm, each in pairs
        if each and each.is_shown and sign * each.difference > 0
    ]
    shown.sort(key=lambda each: each[2])
    interval = "simultaneous 95 % interval "
    texts = []
    many = sign > 0 and len(shown) > MAX_BEATEN_ARMS
    for arm, (low, high), difference in shown[:1] if many else shown:
        size = f"{points(difference)} ({interval}{range_text(low, high)})"
        fewer = _describe_reduction(comparison, arm) if sign > 0 else ""
        name = quote_name(arm.name)
        if many:
            name = f"{_of_others(comparison, len(shown))}; than the nearest of these, {name},"
        texts.append(f"{name} by {size}{fewer}")
        interval = ""
    return join_names(texts, ", and than " if sign > 0 else ", and by ")


def _describe_reduction(comparison: SweepComparison, arm: Arm) -> str:
    share, low, high = comparison.reduction(arm)
    if not math.isfinite(low):
        return ""
    return f", {100 * share:.0f} % fewer errors ({100 * low:.0f} to {100 * high:.0f} %)"


def _describe_evidence(comparison: SweepComparison, best: Arm, command: str) -> Iterator[str]:
    inference = comparison.inference
    yield from _describe_references(comparison)
    if inference is None:
        yield "No test utterance was decoded by all runs, so nothing is said about differences."
        return
    if not inference.can_decide:
        yield from explain_no_decision(comparison, inference, command)
    if lower := _list_differences(comparison, sign=-1):
        yield f"On test it is beaten by {lower}, but the best arm is selected on dev."
    yield from describe_sensitivity(comparison)
    if inference.can_decide and comparison.word_inference:
        yield _describe_words(comparison, best)
    yield from describe_few_speakers(inference, comparison.folds)
    tested = _count_tested(comparison)
    if comparison.common_utterances < tested:
        decoded = "arms" if comparison.folds else "runs"
        yield (
            f"The arms are compared on the {comparison.common_utterances} of {tested} test "
            f"utterances that all {decoded} decoded with the same reference."
        )


def _count_tested(comparison: SweepComparison) -> int:
    """Return the utterances of the largest test set; with folds, those of all folds together."""
    sets = [run.hypotheses_for("test") for arm in comparison.arms for run in arm.runs]
    if not any(arm.folds for arm in comparison.arms):
        return max(map(len, sets))
    return len({name for each in sets for name in each.column("utterance_id").tolist()})


def _describe_references(comparison: SweepComparison) -> Iterator[str]:
    """Yield how many test utterances have another reference in other runs."""
    references: dict[str, set[str]] = {}
    for arm in comparison.arms:
        for run in arm.runs:
            for utterance_id, reference in run.hypotheses_for("test").places():
                references.setdefault(utterance_id, set()).add(reference)
    if differing := sum(len(texts) > 1 for texts in references.values()):
        yield (
            f"{count_text(differing, 'test utterance')} with other references in other runs, as "
            "another corpus or normalisation gives them: not compared."
        )


def _describe_words(comparison: SweepComparison, best: Arm) -> str:
    """Return whether the WER tells the same arms apart as the CER."""
    low, high = comparison.word_rate_interval(best)
    interval = f" (95 % interval {range_text(low, high)})" if math.isfinite(low) else ""
    rate = f"The test WER of {best.name} is {percent(best.mean_test_wer)}{interval}"
    others = [arm for arm in comparison.arms if arm is not best]
    by_words = {quote_name(arm.name): comparison.word_difference(arm) for arm in others}
    by_characters = [_verdict(comparison.difference(arm)) for arm in others]
    if by_characters == [_verdict(each) for each in by_words.values()]:
        return f"{rate}; by WER the verdict is the same."
    found = {
        verdict: [name for name, each in by_words.items() if _verdict(each) == verdict]
        for verdict in (1, -1, 0)
    }
    words = {1: "better than {}", -1: "worse than {}", 0: "it cannot be told apart from {}"}
    parts = [
        words[verdict].format(
            join_names(names)
            if len(names) <= MAX_BEATEN_ARMS
            else _of_others(comparison, len(names), "all" if verdict else "any of the")
        )
        for verdict, names in found.items()
        if names
    ]
    return f"{rate}; by WER, {'; '.join(parts)}."


def _verdict(difference: ArmDifference | None) -> int:
    """Return 1 if an arm is shown to be worse than the other one, -1 if better, 0 if neither."""
    if difference is None or not difference.is_shown:
        return 0
    return 1 if difference.difference > 0 else -1


def _of_others(comparison: SweepComparison, count: int, every: str = "all") -> str:
    others = len(comparison.arms) - 1
    if count == others:
        return f"{every} {others} other arms"
    return f"{count} of the {others} other arms"
