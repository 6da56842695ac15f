"""Pages of results and methods from records: what they say, and whether they are kept as they are written."""

import pytest

from bench import registry
from bench.evaluation.agreement import kendall_tau, ranks
from bench.records.store import Store
from bench.reporting.comparisons.differences import VERSION
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.pages.facts import numbers
from bench.reporting.pages.gather import Results, gather, kind_of
from bench.reporting.pages.matrix import headroom
from bench.reporting.pages.reading import against_controls, protocols_agree
from bench.reporting.pages.results import PAGES, state
from bench.reporting.pages.write import outdated_pages, write_pages
from bench.reporting.tables.table import make_tables


@pytest.mark.parametrize(
    ("one", "other", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], 2 / 3),
        ([1, 1, 2, 3], [1, 2, 2, 3], 4 / 5),
        ([1, 1, 1], [1, 2, 3], None),
    ],
)
def test_kendalls_tau(one, other, tau):
    """The fourth: four pairs in order, one tied in each list alone: 4 / sqrt(5 * 5)."""
    found = kendall_tau(one, other)
    assert found is None if tau is None else found == pytest.approx(tau)


def test_equals_share_their_places():
    assert ranks([0.9, 0.5, 0.9, 0.1]).tolist() == [1.5, 3, 1.5, 4]


def compared(other, verdict):
    return {"method": other, "metrics": {"ap": {"verdict": verdict, "p": 0.01}}}


def results_of(records, verdicts=()):
    tables = tuple(make_tables(records))
    key = tables[0].key
    kept = [
        key._asdict()
        | {
            "version": VERSION,
            "method": one,
            "rows": [{"method": other, "metrics": {"ap": {"verdict": verdict, "p": 0.5}}}],
        }
        for one, other, verdict in verdicts
    ]
    return Results(tables, 1, (), Verdicts.of(kept))


def test_the_reading_sorts_methods_by_verdict_against_the_best_control(make_record):
    records = [make_record(name, 0, f1) for name, f1 in (("a", 0.9), ("b", 0.8), ("c", 0.3), ("d", 0.95), ("e", 0.2))]
    records += [make_record(name, 0, f1, supervision="control") for name, f1 in (("ecvc", 0.7), ("random", 0.1))]
    verdicts = [("a", "ecvc", "better"), ("b", "ecvc", "not separable"), ("ecvc", "c", "better")]
    results = results_of(records, verdicts)
    text = against_controls(results, results.of("within"))
    assert "against `ecvc` (AP .700): better by the paired test: a; not separable: b; worse: c; " in text
    assert "not compared, higher in the mean: d; not compared, not higher: e." in text
    assert "Better than the best control: 1 of 5 pairs" in text
    assert "On every one of these 1 editions: a." in text
    assert "next to nothing: 1 pairs (c)" in text
    assert "false alarms it promises in 5 of 5 rows; 0 rows have an AUROC of 0.95 or more and an F1 below 0.1" in text
    assert "not compared by the paired test: 2; fewer than 20 abnormal test sequences: bgl@raw12k; one seed" in text


def test_verdicts_of_another_version_say_nothing(make_record):
    (table,) = make_tables([make_record("a"), make_record("ecvc", supervision="control")])
    kept = table.key._asdict() | {
        "method": "a",
        "rows": [{"method": "ecvc", "metrics": {"ap": {"verdict": "better", "p": 0.01}}}],
    }
    one, other = table.rows
    assert Verdicts.of([kept | {"version": VERSION}]).of_rows(table, other, one) == "worse"
    assert Verdicts.of([kept | {"version": VERSION - 1}, {"version": VERSION}]).of_rows(table, other, one) is None


def test_smoke_editions_are_no_finding(make_record):
    records = [make_record("a", tiers={"bgl@raw12k": "smoke"})]
    records += [make_record("ecvc", supervision="control", tiers={"bgl@raw12k": "smoke"})]
    results = results_of(records)
    assert "nothing here says how good a method is" in against_controls(results, results.of("within"))


def test_whether_two_protocols_rank_alike(make_record):
    records = [make_record(name, 0, f1) for name, f1 in (("a", 0.5), ("b", 0.4), ("c", 0.3))]
    records += [make_record(name, 0, f1, split="paper") for name, f1 in (("a", 0.7), ("b", 0.8), ("c", 0.9))]
    assert "tau of the two rankings by AUROC is -1.00 (3 methods)" in protocols_agree(results_of(records))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mlad", "plain"),
        ("deeplog+nearest", "plain"),
        ("mlad[steps=150]", "steps"),
        ("mlad[alpha=1.0]", "setting"),
        ("mlad[alpha=1.0,steps=150]", "setting"),
        ("mlad[profile=original]", "original"),
        ("mlad[alpha=1.0,profile=original]", "setting"),
    ],
)
def test_rows_with_another_budget_or_profile_are_told_apart(make_record, name, kind):
    assert kind_of(make_tables([make_record(name)])[0].rows[0]) == kind


def test_a_default_that_was_given_is_the_plain_row(make_record):
    record = make_record("mlad")
    record["detector"]["config_passed"] = {"steps": 600}
    assert kind_of(make_tables([record])[0].rows[0]) == "plain"


def test_pages_say_the_newest_protocol_alone(tmp_path, make_record):
    store = Store(tmp_path / "results")
    for record in (make_record("mlad", 1, 0.1, protocol=1), make_record("mlad", 0, 0.9, protocol=2)):
        store.write(record)
    found = gather(store)
    assert [table.key.protocol_version for table in found.tables] == [2]
    assert "Records of protocol 1 are here too, and on no page" in state(found)


def test_the_best_method_of_an_edition_stands_with_what_it_is_told(make_record):
    told = make_record("forest", f1=0.9, supervision="supervised")
    page = headroom(make_tables([told, make_record("mlad", f1=0.7)]))
    assert "forest .900 (source labels)" in page


@pytest.fixture
def no_methods(monkeypatch):
    """Pages of results alone: those of methods import every method."""
    monkeypatch.setattr("bench.reporting.pages.write.method_pages", lambda *ignored: {})


@pytest.mark.usefixtures("no_methods")
def test_a_method_without_a_row_by_its_defaults_shows_those_that_bear_other_names(make_record):
    stand_in = make_record("logllm[decoder=tiny]", 0, 0.7, config={"decoder": "tiny"})
    bare = make_record("logllm", 0, 0.0) | {"status": "skipped", "reason": "its weights are the user's"}
    results = Results(tuple(make_tables([stand_in, bare])), 1, (), Verdicts.of([]))
    assert "logllm[decoder=tiny]: .700 / .700 / .700 (1)" in numbers(results, "logllm")
    whole = Results(tuple(make_tables([stand_in, make_record("logllm", 0, 0.5)])), 1, (), Verdicts.of([]))
    assert "| .500 / .500 / .500 (1) |" in " ".join(numbers(whole, "logllm").split())
    assert "tiny" not in numbers(whole, "logllm")


def test_pages_are_written_kept_and_found_outdated(tmp_path, make_record):
    store, docs = Store(tmp_path / "results"), tmp_path / "docs"
    store.write(make_record("mlad", 0, 0.75))
    written = write_pages(store, docs)
    names = {path.stem for path in written if path.parent.name == "results"}
    assert names == {page.name for page in PAGES}
    page = docs / "results" / "chronological.md"
    assert ".750 / .750 / .750" in page.read_text()
    page.write_text(page.read_text().replace("## Reading", "By hand: well.\n\n## Reading"))
    assert outdated_pages(store, docs) == {}
    store.write(make_record("mlad", 1, 0.25))
    (docs / "results" / "left.md").write_text("# Left\n")
    wrong = {path.name: what for path, what in outdated_pages(store, docs).items()}
    assert "differs from the records" in wrong["chronological.md"]
    assert "is a page of nothing" in wrong["left.md"]
    write_pages(store, docs)
    assert "By hand: well." in page.read_text()
    assert ".500 / .500 / .500" in page.read_text()


def test_the_page_of_a_method_has_what_its_class_says(tmp_path, make_record, monkeypatch):
    known = {name: registry.available()[name] for name in ("mlad", "ngram", "new-event", "random")}
    monkeypatch.setattr(registry, "available", lambda: known)
    store, docs = Store(tmp_path / "results"), tmp_path / "docs"
    store.write(make_record("mlad", 0, 0.75))
    write_pages(store, docs)
    page = (docs / "methods" / "mlad.md").read_text()
    assert "| told       | source normals" in page
    assert "| `alpha`" in page
    assert "(published code)" in page
    assert "(MLAD section 4.1)" in page, "of the settings that all networks share"
    assert "| bgl@raw12k | chronological | .750 / .750 / .750 (1)" in page
    published = (docs / "methods" / "ngram.md").read_text()
    assert "| `normalise`" in published
    assert "`original`: " in published
    controls = (docs / "methods" / "controls.md").read_text()
    assert "**`new-event`**: Number of events whose log key" in controls
