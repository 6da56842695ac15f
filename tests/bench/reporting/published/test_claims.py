"""Claims of abstracts, each verdict against a mean worked out by hand."""

from decimal import Decimal

import pytest

from bench.errors import BenchError
from bench.reporting.published.audit import IMPOSSIBLE, NOT_JUDGED, POSSIBLE
from bench.reporting.published.claims import (
    Bound,
    Claim,
    differing_versions,
    judge_claims,
    load_claims,
    render_beside,
    render_claims,
    with_claimed_rows,
)
from bench.reporting.tables.table import make_tables

LOW = Bound("C", "four labels", Decimal("0.0046"), "8 / 1722")
HIGH = Bound("C", "all labels", Decimal("0.4"), "given")


def judged(number, metric="f1_above", data=("A", "B", "C"), bounds=(LOW, HIGH)):
    claim = Claim("S", "says", None if number is None else Decimal(number), metric, data)
    (found,) = judge_claims([claim], list(bounds))
    return found


def test_the_mean_over_logs_is_bounded_by_the_reading_that_allows_most():
    # (1 + 1 + 0.4) / 3 = 0.8
    assert judged("0.80").verdict == POSSIBLE
    assert judged("0.81").verdict == IMPOSSIBLE
    assert judged("0.81").arithmetic == "mean over A, B, C <= (1 + 1 + 0.4) / 3 = 0.800 < 0.81"
    assert judged("0.70", bounds=[LOW]).verdict == IMPOSSIBLE


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"metric": "precision"}, "no F1"),
        ({"data": ()}, "it names no log"),
        ({"data": ("A", "B")}, "no bound of its logs is known"),
    ],
)
def test_what_is_not_judged(options, why):
    found = judged("0.99", **options)
    assert (found.verdict, found.arithmetic) == (NOT_JUDGED, why)


def test_the_shipped_bounds_follow_from_their_counts():
    four, many, _ = load_claims()[1]
    assert round(2 * 4 / (4 + 1718), 4) == float(four.f1)
    assert round(2 * 198 / (198 + 2069), 4) == 0.1747 < float(many.f1)


def test_the_shipped_claims_on_openstack_are_impossible_and_versions_differ():
    claims, bounds = load_claims()
    found = {(j.claim.system, str(j.claim.number)): j.verdict for j in judge_claims(claims, bounds)}
    for key in (("FusionLog", "0.90"), ("GeneralLog", "0.90"), ("ZeroLog", "0.80"), ("MetaLog", "0.80")):
        assert found[key] == IMPOSSIBLE
    (sentence,) = differing_versions(claims)
    assert sentence.startswith("- versions of FusionLog claim different things")
    assert sentence in render_claims(judge_claims(claims, bounds), bounds)


def test_a_claim_of_one_pair_stands_beside_our_rows_of_that_pair_alone(make_record):
    """FreeLog's are precisions of single directions, and `zerolog` is its configuration here."""
    records = []
    for train, test in (("hdfs", "bgl"), ("bgl", "hdfs")):
        made = make_record("zerolog", f1=0.5, split="transfer")
        made["spec"] |= {"train": [{"edition": f"{train}@a"}], "test": [{"edition": f"{test}@a"}]}
        made["spec"]["detector"] |= {"name": "zerolog"}
        records.append(made | {"scenario": f"{train}@a2{test}@a", "run_id": f"{train}2{test}"})
    page = render_beside(make_tables(records), "conformal:0.01", ["FreeLog"])
    beside = [line.split("|")[3:7] for line in page.splitlines() if "| zerolog" in line]
    pairs = [(says.strip(), pair.strip()) for says, _, pair, _ in beside]
    assert pairs == [
        ("precision 81.12 % from HDFS to BGL", "hdfs2bgl, transfer"),
        ("precision 79.34 % from BGL to HDFS", "bgl2hdfs, transfer"),
    ]
    assert "| our F1 [95 %]" in page
    assert "| our P" in page


def test_one_version_or_the_same_words_differ_from_nothing():
    one = Claim("S", "says", None, version="v1")
    assert differing_versions([one]) == []
    assert differing_versions([one, Claim("S", "says", None, version="v2")]) == []


def test_a_claim_without_a_row_of_ours_is_still_shown():
    page = render_beside([], "conformal:0.01", ["FusionLog"])
    assert page.count("| FusionLog") == 4
    with pytest.raises(BenchError, match="no claim of 'Nobody' is known"):
        render_beside([], "conformal:0.01", ["Nobody"])


def test_a_claimed_system_that_only_others_ran_has_its_row_from_there(make_record):
    ours = [make_record("zerolog"), make_record("zerolog", split="paper")]
    others = [make_record("fusionlog[teacher=embedding]"), make_record("zerolog[n=1]"), make_record("metalog")]
    wide = with_claimed_rows(make_tables(ours), make_tables([*ours, *others]), ["FusionLog", "ZeroLog"])
    assert [[row.method for row in table.rows] for table in wide] == [
        ["zerolog", "fusionlog[teacher=embedding]"],
        ["zerolog"],
    ]
