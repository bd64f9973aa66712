"""N-gram models: probabilities that sum to one, worked examples, ARPA files and their faults."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.words.ngram import END, UNKNOWN, NgramModel, estimate, format_arpa, read_arpa
from pipeline.files import InputError
from tests.decoding.words.back_off import log_probability, sentence_log_probability

WORDS = st.lists(st.sampled_from("abcde"), max_size=6)
TEXTS = st.lists(WORDS, min_size=1, max_size=12)


@given(TEXTS, st.integers(1, 4), st.lists(st.sampled_from(["<s>", *"abcdz"]), max_size=4))
def test_the_probabilities_of_all_tokens_sum_to_one_after_any_history(text, order, history):
    model = estimate(text, order)
    tokens = [*model.vocabulary, END, UNKNOWN]
    total = sum(10 ** log_probability(model, token, history) for token in tokens)
    assert total == pytest.approx(1, abs=1e-9)


def test_kneser_ney_of_a_worked_example():
    """Worked by hand: a a b and a b, order 2, with the fallback discounts 0.5 and 1.

    Bigrams: <s> a 2, a a 1, a b 2, b </s> 2. Continuations: a 2 (after <s> and a), b 1, </s> 1.
    """
    model = estimate([["a", "a", "b"], ["a", "b"]], 2)
    uniform = 1 / 4  # a, b, </s>, <unk>
    left = (1 + 0.5 + 0.5) / 4
    a, b = (2 - 1) / 4 + left * uniform, (1 - 0.5) / 4 + left * uniform
    assert 10 ** log_probability(model, "a", ["b", "zzz"]) == pytest.approx(a)
    after_a = (1 + 0.5) / 3
    assert 10 ** log_probability(model, "b", ["a"]) == pytest.approx((2 - 1) / 3 + after_a * b)
    assert 10 ** log_probability(model, "a", ["a"]) == pytest.approx((1 - 0.5) / 3 + after_a * a)


@pytest.mark.parametrize("text", ["abcddeefffgggg", "abcddeeffggghhhiiii"])
def test_a_discount_comes_from_counts_of_counts(text: str):
    """Equation 26 of Chen and Goodman; the end of the sentence has the count 1 too."""
    counts = [*Counter(text).values(), 1]
    n1, n2, n3, n4 = (counts.count(n) for n in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    total = sum(counts)
    left = sum(discounts[min(count, 3) - 1] for count in counts) / total
    model = estimate([list(text)], 1)
    for letter, count in Counter(text).items():
        expected = (count - discounts[min(count, 3) - 1]) / total + left / (len(counts) + 1)
        assert 10 ** log_probability(model, letter, []) == pytest.approx(expected)


def test_a_sentence_is_more_probable_than_its_words_in_another_order():
    model = estimate([["call", "me", "now"]] * 3 + [["now", "call"]], 3)
    assert sentence_log_probability(model, ["call", "me", "now"]) > (
        sentence_log_probability(model, ["now", "me", "call"])
    )


@given(TEXTS, st.integers(1, 3))
def test_an_arpa_file_gives_the_model_back(tmp_path_factory, text, order):
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    model = estimate(text, order)
    path.write_text(format_arpa(model), encoding="utf-8")
    read = read_arpa(path)
    assert read.vocabulary == model.vocabulary
    for tokens in (["a", "b"], ["z"], []):
        assert sentence_log_probability(read, tokens) == pytest.approx(
            sentence_log_probability(model, tokens), abs=1e-4
        )


def test_the_arpa_file_of_another_tool_is_read(tmp_path: Path):
    """As SRILM writes it: blank lines, tabs, no back-off weight where none is needed."""
    path = tmp_path / "lm.arpa"
    path.write_text(
        "\n\\data\\\nngram 1=3\nngram 2=2\n\n\\1-grams:\n-99\t<s>\t-0.30103\n-0.3 </s>\n"
        "-0.30103\tYES\t-0.1\n\n\\2-grams:\n-0.1\t<s> YES\n-0.2 YES </s>\n\n\\end\\\n"
    )
    model = read_arpa(path)
    assert model.order == 2
    assert sentence_log_probability(model, ["YES"]) == pytest.approx(-0.3)
    assert log_probability(model, "YES", ["YES"]) == pytest.approx(-0.1 - 0.30103)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: text.replace("ngram 1=", "ngram 1=9"), "announces"),
        (lambda text: text.replace("\ta\t", "\ta b c d\t"), "line 10: 6 fields"),
        (lambda text: text.replace("-99.000000\t<s>", "nan\t<s>"), "nan is not a log10"),
        (lambda text: text.replace("-99.000000\t<s>", "x\t<s>"), "could not convert"),
        (lambda text: text.replace("</s>", "end"), "no 1-gram </s>"),
        (lambda text: text.replace("ngram 1=", "ngram one="), "line 3: "),
        (lambda _: "", "cut short"),
        (lambda _: "\\data\\\n\\end\\\n", r"has no \1-grams:"),
        (lambda text: text.replace("\\2-grams:", "\\3-grams:"), r"\3-grams: where \2-grams: must"),
    ],
)
def test_a_damaged_arpa_file_is_refused_in_one_line(tmp_path: Path, change, said):
    path = tmp_path / "lm.arpa"
    path.write_text(change(format_arpa(estimate([["a", "b"], ["a"]], 2))))
    with pytest.raises(InputError) as refused:
        read_arpa(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_arpa_file_that_is_not_text_or_missing_is_refused(tmp_path: Path):
    path = tmp_path / "lm.arpa"
    with pytest.raises(InputError, match=r"lm\.arpa: no such file"):
        read_arpa(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_arpa(path)


def test_no_sentence_is_no_model():
    with pytest.raises(InputError, match="at least one sentence"):
        estimate([], 2)
    assert isinstance(estimate([[]], 2), NgramModel)
