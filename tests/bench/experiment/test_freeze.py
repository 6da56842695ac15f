"""A frozen plan: written before, read back equal, and what was done otherwise is found."""

import dataclasses

import pytest

from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.experiment.code import InstalledCode
from bench.experiment.freeze import SEEN, changed_code, differences, freeze, hold, read_frozen, write_frozen
from bench.experiment.planning import plan_parts
from bench.experiment.suites import load_suite

SUITE = """description = "controls"
[[run]]
scenarios = ["hdfs@simulated", "bgl@simulated"]
methods = ["ngram"]
seeds = "0,"
"""


@pytest.fixture
def frozen(tmp_path):
    def make(text=SUITE, records=(), before=None, known=None):
        (tmp_path / "mine.toml").write_text(text)
        suite = load_suite(str(tmp_path / "mine.toml"))
        cells = plan_parts(suite.parts, known or catalogue(), tmp_path).cells
        return freeze([("mine.toml", suite, cells)], records, InstalledCode(tmp_path), before), cells

    return make


def record_of(cell, code, **fields):
    spec = cell.spec()
    made = {
        "run_id": cell.run_id,
        "spec": spec,
        "status": "ok",
        "scenario": cell.scenario.key,
        "method": cell.method.label,
        "tiers": {card.key: card.tier for card in cell.scenario.cards},
        "code": code,
        "detector": {},
    }
    return made | fields


def test_a_plan_reads_back_as_it_was(frozen, tmp_path):
    made, cells = frozen()
    write_frozen(tmp_path / "plan.toml", made)
    assert read_frozen(tmp_path / "plan.toml") == made
    assert made.run_ids == {cell.run_id for cell in cells}
    assert differences(made, made) == changed_code(made, made) == []


def test_the_same_is_frozen_to_the_same_bytes(frozen, tmp_path):
    for name in ("one", "other"):
        write_frozen(tmp_path / name, frozen()[0])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (SUITE.replace("controls", "others"), "the file of the suite mine.toml has changed"),
        (SUITE.replace('"0,"', '"0,1"'), "0 of its 16 runs do not follow from its suites here, 16 others do"),
        (SUITE.replace(', "bgl@simulated"', ""), "8 of its 16 runs do not follow from its suites here, 0 others do"),
    ],
)
def test_what_is_not_the_plan_any_more_is_told(frozen, other, words):
    made, _ = frozen()
    now, _ = frozen(other)
    assert any(words in told for told in differences(made, now))


def test_a_changed_default_is_named(frozen):
    made, _ = frozen()
    before = dataclasses.replace(made, defaults=made.defaults | {"ngram": "0" * 16})
    assert "the defaults of ngram have changed" in differences(before, made)


def test_other_code_is_named_and_no_difference_of_the_plan(frozen):
    made, _ = frozen()
    before = dataclasses.replace(made, code=made.code | {"ngram": ["0/0"]})
    assert changed_code(before, made) == ["ngram"]
    assert differences(before, made) == []


def test_records_are_held_against_the_plan(frozen):
    made, cells = frozen()
    code = dict(zip(("method", "engine"), made.code["ngram"][0].split("/"), strict=True))
    ngrams = [cell for cell in cells if cell.method.ref.name == "ngram"]
    records = [
        record_of(ngrams[0], code),
        record_of(ngrams[1], {"method": "f" * 16, "engine": "f" * 16}, status="error"),
        record_of(ngrams[0], code, run_id="0" * 16),
        record_of(ngrams[0], code, run_id="1" * 16, tiers={"x@y": "evaluation"}),
    ]
    held = hold(made, records)
    assert (held.done, held.failed, held.missing) == (1, 1, len(cells) - 2)
    assert held.other_code == ["bgl@simulated, chronological, ngram: 1"]
    assert held.outside == ["hdfs@simulated, chronological, ngram: 1"]
    assert held.n_outside == 2


def test_a_run_of_another_plan_is_not_outside(frozen):
    made, cells = frozen()
    code = dict(zip(("method", "engine"), made.code["ngram"][0].split("/"), strict=True))
    runs = {"x@y--blind": {"ngram": ["3" * 16]}}
    further = dataclasses.replace(made, runs=runs)
    beside = record_of(cells[0], code, run_id="3" * 16, tiers={"x@y": "evaluation"})
    assert hold(made, [beside]).outside
    held = hold(made, [beside], [further])
    assert (held.outside, held.n_outside, held.n_in_other_plans) == ([], 0, 1)


def test_a_certificate_is_no_run_that_the_plan_lacks(frozen):
    made, cells = frozen()
    given = record_of(cells[0], {}, run_id="2" * 16, tiers={"x@y": "evaluation"})
    given["detector"] |= {"certifies": {"method": "ngram", "code": "other 1.0"}}
    held = hold(made, [given])
    assert (held.done, held.n_outside, held.outside, len(held.certificates)) == (0, 0, [], 1)


def test_what_a_check_found_to_give_the_same_numbers_is_the_plans_code(frozen):
    made, cells = frozen()
    (cell, *_) = [cell for cell in cells if cell.method.ref.name == "ngram"]
    code = dict(zip(("method", "engine"), made.code["ngram"][0].split("/"), strict=True))
    checked = record_of(cell, {"method": "0", "engine": "0"}, verified_with={"code": code})
    assert hold(made, [checked]).other_code == []


class TestBlind:
    """Blind is an evaluation edition on which no method had been scored."""

    TEXT = SUITE.replace('"hdfs@simulated", "bgl@simulated"', '"app"')

    @pytest.fixture
    def known(self, own_system):
        return own_system({"a.log": b"- 1 x\n" * 100}, tier="evaluation")

    def test_what_was_never_scored_is_blind(self, frozen, known):
        made, _ = frozen(self.TEXT, known=known)
        assert made.blind == ("app@mine",)
        assert not made.not_blind

    def test_what_has_a_record_is_not(self, frozen, known):
        _, cells = frozen(self.TEXT, known=known)
        made, _ = frozen(self.TEXT, records=[record_of(cells[0], {})], known=known)
        assert made.blind == ()
        assert made.not_blind == {"app@mine": "records hold scores of methods on app@mine"}

    def test_a_record_without_scores_tells_nothing(self, frozen, known):
        _, cells = frozen(self.TEXT, known=known)
        made, _ = frozen(self.TEXT, records=[record_of(cells[0], {}, status="error")], known=known)
        assert made.blind == ("app@mine",)

    def test_another_edition_of_the_same_file_is_not(self, frozen, known, own_system):
        _, cells = frozen(self.TEXT, known=known)
        scored = record_of(cells[0], {})
        both = own_system({"a.log": b"- 1 x\n" * 100}, tier="evaluation", edition="other", rank=99)
        made, _ = frozen(self.TEXT, records=[scored], known=both)
        assert made.not_blind == {"app@other": "records hold scores of methods on app@mine"}

    def test_a_plan_in_place_of_another_makes_nothing_blind(self, frozen, known):
        """Also where the records that told so are gone."""
        before, _ = frozen(self.TEXT, known=known)
        before = dataclasses.replace(before, blind=(), not_blind={"app@mine": "records hold scores"})
        made, _ = frozen(self.TEXT, known=known, before=before)
        assert made.not_blind == {"app@mine": "records hold scores"}

    def test_development_editions_are_not_spoken_of(self, frozen):
        made, _ = frozen()
        assert (made.blind, made.not_blind) == ((), {})

    def test_hdfs_blocks_a_is_never_blind(self):
        assert "hdfs@blocks-a" in SEEN


def test_a_study_is_not_frozen(tmp_path):
    text = '[study]\nsystems = ["bgl@simulated"]\n[trials.pca]\nchanges = ["variance=0.9"]\n'
    (tmp_path / "mine.toml").write_text(text)
    suite = load_suite(str(tmp_path / "mine.toml"))
    with pytest.raises(BenchError, match="the study 'mine' cannot be frozen"):
        freeze([("mine.toml", suite, [])], [], InstalledCode(tmp_path))


@pytest.mark.parametrize("content", ["", "protocol_version = 2\nsuite = 3", "[[[", "suite = [{name = 'x'}]"])
def test_what_is_no_plan_is_a_sentence(tmp_path, content):
    (tmp_path / "plan.toml").write_text(content)
    with pytest.raises(BenchError, match="is no plan"):
        read_frozen(tmp_path / "plan.toml")


def test_a_plan_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(BenchError, match=r"cannot be read.*--freeze"):
        read_frozen(tmp_path / "plan.toml")
