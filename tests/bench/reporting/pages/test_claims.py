"""What counts as a number, which entry answers for it, and what the records say to it."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store
from bench.reporting.pages.blocks import block, emptied, filled
from bench.reporting.pages.check import audit_claims, printed_like, totals
from bench.reporting.pages.claims import claims_of
from bench.reporting.pages.lookup import Lookup, parse_queries
from bench.reporting.pages.numbers import Number, numbers_of


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("F1 .598 and 0.95, AUROC 1.00 of 1,303 blocks.", [".598", "0.95", "1.00", "1,303"]),
        ("29 % flagged, +0.148 by -.05; .473/.997, .54-.60", ["29", "+0.148", "-.05", ".473", ".997", ".54", ".60"]),
        ("| mlad | .598 / .951 |", [".598", ".951"]),
        ("`alpha=1.5`, [see](page-2.md), all-MiniLM-L6-v2, 64-bit, 10-gram, R@1, t2", []),
        ("(KDD 2022), Table 2, tables 1 and 3, figure 4, protocol 1, section 5.2, version 0.2", []),
        ("# Heading 3\n\n1. first\n```\n5 lines\n```\n<!-- 7 -->", []),
        ("2,022 lines of 1970.5", ["2,022", "1970.5"]),
    ],
)
def test_what_is_a_number(text, numbers):
    assert [number.text for number in numbers_of(text)] == numbers


def test_a_comment_answers_for_the_text_since_the_last_one_or_the_heading():
    page = "It has .2.\n\n## Next\n\nIt has .2.\n\n<!-- claims\n.2 = quoted: x\n-->\n\nAnd .2 again.\n"
    found = claims_of(page)
    assert [(claim.number.text, claim.number.line, claim.source) for claim in found.claims] == [(".2", 5, "quoted")]
    assert [(number.text, number.line) for number in found.unmarked] == [(".2", 1), (".2", 11)]


def test_several_names_are_several_numbers_in_order():
    found = claims_of("A .6, a .9.\n<!-- claims\n.6 .9 = f1 mlad,ecvc[a=1,b=2] hdfs paper seed=0\n-->\n")
    assert [str(claim.query) for claim in found.claims] == [
        "f1 mlad hdfs paper seed=0",
        "f1 ecvc[a=1,b=2] hdfs paper seed=0",
    ]


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (".6 quoted", "has no ' = '"),
        (".6 = guessed: me", "is not METRIC METHOD SCENARIO SPLIT"),
        (".6 = f2 mlad hdfs paper", "'f2' is no metric"),
        (".6 = f1 mlad,ecvc hdfs paper", "asks for 2 numbers and 1 stand before it"),
        (".7 = quoted: x", "does not stand in the text above"),
    ],
)
def test_an_entry_that_is_wrong_is_a_fault_with_its_line(entry, what):
    ((line, said),) = claims_of(f"It has .6.\n\n<!-- claims\n{entry}\n-->\n").faults
    assert line == 4
    assert what in said


def test_generated_blocks_are_not_read_and_keep_their_lines():
    page = f"# A\n\n{block('matrix', '| .5 |')}\n\nBut .6 here.\n"
    assert [(number.text, number.line) for number in numbers_of(emptied(page))] == [(".6", 9)]


def test_blocks_are_filled_and_the_rest_is_kept():
    page = f"# A\n\nBy hand.\n\n{block('one', 'old')}\n\nAfter.\n"
    assert filled(page, {"one": "new"}, Path("a.md")) == page.replace("old", "new")
    for wrong, what in (
        (page.replace("<!-- end -->", ""), "without its other half"),
        (page.replace("made: one", "made: two"), "which nothing makes"),
        (page + page, "2 times"),
        ("# A\n", "0 times"),
    ):
        with pytest.raises(BenchError, match=what):
            filled(wrong, {"one": "new"}, Path("a.md"))


@pytest.mark.parametrize(
    ("said", "percent", "value", "printed"),
    [
        (".598", False, 0.5982, ".598"),
        (".598", False, 0.5979, ".598"),
        (".60", False, 0.5982, ".60"),
        ("1.00", False, 0.9984, "1.00"),
        (".998", False, 1.0, "1.000"),
        ("29", True, 0.2891, "29"),
        ("1,303", False, 1304, "1,304"),
        ("1303", False, 1304, "1304"),
        ("+0.148", False, 0.1479, "+0.148"),
        ("-.05", False, -0.0512, "-.05"),
        ("+.05", False, -0.0512, "-.05"),
    ],
)
def test_a_value_is_printed_as_the_page_prints_it(said, percent, value, printed):
    assert printed_like(Number(said, 1, percent, 0), value) == printed


@pytest.fixture
def store(tmp_path, make_record):
    store = Store(tmp_path / "results")
    for seed, f1 in enumerate((0.6, 0.7, 0.8)):
        store.write(make_record("mlad", seed, f1))
    store.write(make_record("ecvc", 0, 0.5, supervision="control"))
    return store


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("f1 mlad bgl@raw12k chronological", 0.7),
        ("ap mlad bgl@raw12k chronological seed=1", 0.7),
        ("ap mlad bgl@raw12k chronological seed=0+1", 0.65),
        ("auroc mlad bgl@raw12k chronological of=min", 0.6),
        ("auroc mlad bgl@raw12k chronological of=range", 0.2),
        ("f1 mlad bgl@raw12k chronological minus=ecvc", 0.2),
        ("n_test_abnormal mlad bgl@raw12k chronological", 10),
        ("seeds mlad bgl@raw12k chronological", 3),
    ],
)
def test_what_the_records_say(store, query, value):
    (parsed,) = parse_queries(query)
    assert Lookup(store, [parsed]).value(parsed) == pytest.approx(value)


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("f1 mlad bgl@raw12k paper", "no record of bgl@raw12k, paper"),
        ("f1 deeplog bgl@raw12k chronological", "no rows are called 'deeplog'"),
        ("f1 mlad bgl@raw12k chronological seed=7", "no finished record of seed 7"),
        ("f1 mlad bgl@raw12k chronological rule=native", "has no f1 of all by native"),
        ("f1 mlad bgl@raw12k chronological of=median", "of=median is unknown"),
    ],
)
def test_what_the_records_do_not_say(store, query, what):
    (parsed,) = parse_queries(query)
    with pytest.raises(BenchError, match=what):
        Lookup(store, [parsed]).value(parsed)


@pytest.mark.parametrize(
    "query, value",
    [
        ("f1 mlad bgl@raw12k cuts", 0.6),
        ("f1 mlad bgl@raw12k cuts of=min", 0.5),
        ("f1 mlad bgl@raw12k chronological:50/70", 0.5),
        ("f1 mlad bgl@raw12k prequential:3", 0.3),
        ("f1 mlad bgl@raw12k prequential:3 of=max", 0.4),
        ("f1 mlad bgl@raw12k prequential:3/2", 0.4),
        ("f1 mlad bgl@raw12k prequential:3 minus=ecvc", 0.1),
    ],
)
def test_several_cuts_or_blocks_are_one_mean(make_record, tmp_path, query, value):
    skipped = {"status": "skipped", "reason": "no abnormal sequence"}
    values = {"chronological": 0.7, "chronological:50,70": 0.5, "prequential:3,1": 0.2, "prequential:3,2": 0.4}
    store = Store(tmp_path)
    for split, f1 in values.items():
        store.write(make_record("mlad", 0, f1, split=split))
        store.write(make_record("ecvc", 0, 0.2, split=split))
    store.write(make_record("mlad", 0, 0.0, split="prequential:3,3") | skipped)
    (parsed,) = parse_queries(query)
    assert Lookup(store, [parsed]).value(parsed) == pytest.approx(value)


def test_two_protocols_are_never_mixed(store, make_record):
    store.write(make_record("mlad", 3, 0.9, protocol=PROTOCOL_VERSION + 1))
    (plain,) = parse_queries("f1 mlad bgl@raw12k chronological")
    (named,) = parse_queries(f"f1 mlad bgl@raw12k chronological protocol={PROTOCOL_VERSION + 1}")
    lookup = Lookup(store, [plain, named])
    with pytest.raises(BenchError, match=f"protocols {PROTOCOL_VERSION} and {PROTOCOL_VERSION + 1}"):
        lookup.value(plain)
    assert lookup.value(named) == pytest.approx(0.9)


def test_the_audit_names_page_line_said_and_found(store, tmp_path):
    docs = tmp_path / "docs"
    (docs / "results").mkdir(parents=True)
    claims = "\n<!-- claims\n.700 .51 = f1 mlad,ecvc bgl@raw12k chronological\n.9 = quoted: elsewhere\n-->\n"
    (docs / "results" / "a.md").write_text(f"# A\n\nF1 .700 and .51, said .9.\n{claims}\nAnd 4 more.\n")
    (docs / "other.md").write_text(f"Unmarked 12. F1 .700 and .50, said .9.\n{claims.replace('.51', '.50')}")
    found = audit_claims(docs, store)
    assert totals(found) == {"checked": 3, "quoted": 2, "unmarked": 1, "wrong": 1}
    wrong = [judged.sentence for judged in found if judged.is_wrong]
    page = (docs / "results" / "a.md").as_posix()
    assert wrong[0] == f"{page}:3: says .51, found .50 (f1 ecvc bgl@raw12k chronological)"
    assert wrong[1].startswith(f"{page}:10: 4 is no claim")
