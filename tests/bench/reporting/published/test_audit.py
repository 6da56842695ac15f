"""The audit of published values, each verdict against numbers worked out by hand."""

from decimal import Decimal
from fractions import Fraction

import pytest

from bench.reporting.published.audit import (
    CONSISTENT,
    IMPOSSIBLE,
    NOT_JUDGED,
    POSSIBLE,
    Span,
    audit,
    counts,
    judge,
    render_audit,
    size_notes,
)
from bench.reporting.published.papers import Paper, Value, load_published


def verdict(precision, recall, f1):
    return judge(Decimal(precision), Decimal(recall), Decimal(f1))[0]


def paper(*values, sizes=None, balanced=True):
    return Paper("p", "A paper", {}, balanced, sizes or {}, {}, values)


def value(precision=None, recall=None, f1=None, scenario="bgl"):
    numbers = [None if text is None else Decimal(text) for text in (precision, recall, f1)]
    return Value("2", "Toy", scenario, *numbers)


def marks(precision=None, recall=None, f1=None, **options):
    (finding,) = audit(paper(value(precision, recall, f1), **options))
    return finding.marks


def test_a_printed_number_spans_what_rounds_to_it():
    assert Span.of(Decimal("0.50")) == (Fraction(495, 1000), Fraction(505, 1000))
    assert Span.of(Decimal("0.5000")) == (Fraction(49995, 100000), Fraction(50005, 100000))
    assert Span.of(Decimal("1.0000")).high == 1
    assert Span.of(Decimal("0.0000")).low == 0


# P 0.5, R 1: the harmonic mean is 2/3 = 0.6667, P + R - 1 is 0.5.
@pytest.mark.parametrize(
    ("f1", "expected"),
    [
        ("0.6667", CONSISTENT),
        # P up to 0.50005, R up to 1: 2 x 0.50005 / 1.50005 = 0.66671, which 0.6668 (from 0.66675) does not reach.
        ("0.6668", IMPOSSIBLE),
        # P from 0.49995, R from 0.99995: 0.66661, which 0.6666 (to 0.66665) reaches and 0.6665 (to 0.66655) does not.
        ("0.6666", CONSISTENT),
        ("0.6665", POSSIBLE),
        ("0.5000", POSSIBLE),
        # P + R - 1 from 0.4999: 0.4999 (to 0.49995) reaches it, 0.4998 (to 0.49985) does not.
        ("0.4999", POSSIBLE),
        ("0.4998", IMPOSSIBLE),
    ],
)
def test_verdicts_at_every_border(f1, expected):
    assert verdict("0.5000", "1.0000", f1) == expected


def test_two_runs_that_a_possible_average_could_be_made_of():
    # (P, R) = (1, 0.2) and (0.6, 1): F1 1/3 and 3/4, so the means are P 0.8, R 0.6 and F1 0.5417, below 0.6857.
    assert verdict("0.8000", "0.6000", "0.5417") == POSSIBLE


def test_fewer_printed_digits_allow_more():
    assert verdict("0.80", "0.60", "0.69") == CONSISTENT
    assert verdict("0.8000", "0.6000", "0.6900") == IMPOSSIBLE


def test_zero_precision_and_recall_have_f1_zero():
    assert verdict("0.0000", "0.0000", "0.0000") == CONSISTENT
    assert verdict("0.0000", "0.0000", "0.1000") == IMPOSSIBLE


def test_the_arithmetic_names_its_numbers():
    assert judge(Decimal("0.5000"), Decimal("1.0000"), Decimal("0.6000"))[1] == (
        "P + R - 1 = 0.5000 <= 0.6000 <= 2 P R / (P + R) = 0.6667"
    )
    assert judge(Decimal("0.5000"), Decimal("1.0000"), Decimal("0.7000"))[1].startswith("0.7000 > 2 P R / (P + R)")
    assert judge(Decimal("0.9000"), Decimal("0.9000"), Decimal("0.7000"))[1].startswith("0.7000 < P + R - 1 = 0.8000")


def test_a_value_without_f1_or_with_f1_alone_is_not_judged():
    found = audit(paper(value("0.9000", "0.9000"), value(f1="0.9000")))
    assert [finding.verdict for finding in found] == [NOT_JUDGED, NOT_JUDGED]
    assert [finding.fpr is None for finding in found] == [False, True]


def test_false_positive_rate_of_a_balanced_test():
    # Of 100 abnormal 80 are found; P 0.8 makes 20 false alarms among 100 normal.
    (finding,) = audit(paper(value("0.8000", "0.8000")))
    assert finding.fpr == pytest.approx(0.2)


def test_precision_that_a_balanced_test_cannot_have():
    # All 100 abnormal found and all 100 normal flagged: P = 0.5. Nothing can push it below.
    assert marks("0.4998", "1.0000")[0].startswith("precision impossible at 1:1: even over runs P >= R / 2 = 0.5000")
    assert not any("precision" in mark for mark in marks("0.5000", "1.0000"))
    # R 0.5: one run has P >= 1/3; over runs (P 0.5, R 1) and (0, 0) average to P 0.25.
    assert marks("0.3000", "0.5000")[0].startswith("precision impossible at 1:1 in one run: P >= R / (1 + R) = 0.3333")
    assert marks("0.2400", "0.5000")[0].startswith("precision impossible at 1:1: even over runs P >= R / 2 = 0.2500")


def test_below_all_positive():
    assert marks(f1="0.6666") == ("below all-positive (0.6667)",)
    # 0.6667 can have been 2/3.
    assert marks(f1="0.6667") == ()
    assert marks("0.5100", "0.5100") == ("below all-positive (0.6667)",)


def test_sizes_that_deny_the_balance_are_named_in_the_mark():
    sizes = {"bgl": {"sequences": 1000, "abnormal": 10, "train": 700, "test": 300}}
    assert marks(f1="0.6000", sizes=sizes) == ("below all-positive (0.6667), if 1:1, which the printed sizes deny",)


def test_without_a_balanced_test_nothing_is_marked():
    (finding,) = audit(paper(value("0.1000", "1.0000", "0.1818"), balanced=False))
    assert finding.marks == ()
    assert finding.fpr is None


def test_sizes_are_added_up():
    sizes = {
        "bgl": {"sequences": 100, "abnormal": 10, "train": 80, "test": 20},
        # 10 abnormal of 30: all-positive has P 1/3, R 1, F1 1/2.
        "hdfs": {"sequences": 100, "abnormal": 10, "train": 60, "test": 30},
    }
    good, bad = size_notes(paper(sizes=sizes))
    assert good == "bgl: train + test = 100 = 100; 2 x abnormal = 20 = test: balanced"
    assert bad.startswith("hdfs: train + test = 90 != 100; 2 x abnormal = 20 != test = 30")
    assert bad.endswith("F1 0.500")


def test_table_2_of_the_mlad_paper():
    (mlad,) = [one for one in load_published() if one.key == "mlad"]
    findings = audit(mlad)
    assert counts(findings) == {"2": {CONSISTENT: 11, POSSIBLE: 11, IMPOSSIBLE: 14}}
    impossible = {(f.value.table, f.value.method, f.value.scenario) for f in findings if "precision" in str(f.marks)}
    assert impossible == {("3", "Dagmm", "bgl2tbird")}
    below = {(f.value.table, f.value.method, f.value.scenario) for f in findings if "all-positive" in str(f.marks)}
    assert below == {
        ("2", "LogRobust", "bgl"),
        ("2", "Dagmm", "tbird"),
        ("2", "DeepLog", "hdfs"),
        ("3", "Dagmm", "bgl2tbird"),
        ("4", "ChatGPT without CoT", "bgl"),
    }
    text = render_audit(mlad, findings)
    assert "of 36 F1 values 11 consistent, 11 possible as an average, 14 impossible" in text
