"""Scores that come back make the record that a run with these scores makes; what is wrong with them is a sentence."""

import json

import pytest

import bench
from bench.cli import main
from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.exchange.export import export
from bench.exchange.scores import import_scores
from bench.experiment.code import InstalledCode
from bench.experiment.measure import are_scores_of
from bench.records.store import Store
from bench.records.verify import problems
from bench.reporting.tables.table import make_tables
from bench.reporting.tables.versions import standing


@pytest.fixture
def take(exported, tmp_path):
    """Import a file of scores into a store of its own."""
    store = Store(tmp_path / "out")

    def take(file, name="mine", **options):
        folder = options.pop("folder", exported[0])
        return import_scores(name, file, folder, catalogue(), store, **options)

    take.store = store
    return take


def test_the_scores_of_a_run_give_the_numbers_of_that_run(take, write_scores, ran):
    (run,) = [r for r in ran.records if r["method"] == "ngram"]
    found = take(write_scores(), native=run["thresholds"]["native"]["value"])
    assert found.is_new
    for name in ("metrics", "thresholds", "validation", "counts", "systems", "scenario"):
        assert found.record[name] == run[name], name
    assert found.record["run_id"] != run["run_id"]
    assert found.record["detector"]["division"] == "scores only"
    assert found.record["detector"]["told"] == {"source": "normals"}
    assert "code" not in found.record
    assert list(problems(take.store, are_scores_of)) == []


def test_a_row_is_marked_and_never_ranked_with_what_ran_here(take, write_scores):
    take(write_scores())
    bench.run("ngram", "bgl@simulated", seeds=1, out=take.store.root, progress=False)
    found = bench.load_results(take.store.root)
    groups = dict(found.to_polars().select("method", "told").iter_rows())
    assert groups["mine"] == "scores only, told source normals"
    assert groups["ngram"] == "source normals"
    assert "| scores only, told source normals |" in repr(found)
    row = next(line for line in repr(found).splitlines() if line.startswith("| mine "))
    assert [cell.strip() for cell in row.split("|")[-5:-2]] == ["-", "-", "-"]
    assert set(found.to_polars(each_run=True).filter(method="mine")["told"]) == {"scores only, told source normals"}
    same = found.compare("mine", "ngram")
    assert set(same["difference"]) == {0.0}
    assert len(found.errors("mine")) == len(found.errors("ngram"))


def test_what_code_the_scores_are_of_is_kept_and_changed_alone(take, write_scores):
    file, said = write_scores(), {"method": "ngram", "code": "somebody's ngram 1.0"}
    assert "certifies" not in take(file).record["detector"]
    found = take(file, certifies=said)
    assert found.is_new
    assert found.record["detector"]["certifies"] == said
    assert not take(file, certifies=said).is_new
    bench.run("ngram", "bgl@simulated", seeds=1, out=take.store.root, progress=False)
    made = bench.load_results(take.store.root)
    assert made.compare("ngram", "mine", metric="ap")["difference"].to_list() == [0.0]
    with pytest.raises(BenchError, match="unknown method 'ngrm': did you mean ngram"):
        take(file, certifies={"method": "ngrm", "code": "x"})
    with pytest.raises(BenchError, match="--certifies ngram needs --code"):
        take(file, certifies={"method": "ngram", "code": " "})


def test_what_is_imported_is_packed_checked_shown_and_not_reproduced(
    take, write_scores, exported, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)  # the baseline is written here
    out = str(take.store.root)
    options = ["--export", str(exported[0]), "--out", out]

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (stopped.value.code or 0, *capsys.readouterr())

    code, said, _ = call("results", "import", "mine", str(write_scores()), *options)
    assert code == 0
    run_id = said.split()[1].removesuffix(":")
    assert said == f"record {run_id}: mine on bgl@simulated, chronological, seed 0\n"
    for command in (
        ["results", "pack"],
        ["table", "--write"],
        ["table", "--check"],
        ["results", "verify"],
        ["gate", "--update"],
    ):
        assert call(*command, "--out", out)[0] == 0, command
    shown = call("results", "show", run_id, "--out", out)[1]
    assert "told: scores only, told source normals" in shown
    assert "code: none of this program, only its scores were imported" in shown
    code, _, error = call("results", "reproduce", run_id, "--out", out)
    assert (code, error) == (2, "error: 'mine' cannot be run again: it ran elsewhere, only its scores were imported\n")


def test_a_certificate_is_never_stale_and_no_check_of_code_asks_for_it(
    take, write_scores, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)  # the baseline is written here
    found = take(write_scores(), certifies={"method": "ngram", "code": "other 1.0"})
    (row,) = make_tables([found.record])[0].rows
    assert standing(row, InstalledCode()).state == "elsewhere"

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["bench", *arguments, "--out", str(take.store.root)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (stopped.value.code or 0, *capsys.readouterr())

    assert "stale" not in call("table")[2]
    assert call("gate", "--update")[0] == 0
    code, _, told = call("gate")
    assert (code, "named their code" in told) == (0, False)
    code, told, _ = call("results", "restamp")
    assert (code, told.startswith("no record in ")) == (0, True)
    assert "imported: other 1.0, for ngram" in call("results", "show", found.record["run_id"])[1]


def test_seeds_of_the_methods_own_training_are_one_row(take, write_scores):
    for seed in (0, 1, 2):
        take(write_scores(), seed=seed)
    (row,) = bench.load_results(take.store.root).to_polars().iter_rows(named=True)
    assert row["seeds"] == [0, 1, 2]


def test_a_threshold_of_its_own_and_further_rules(take, write_scores):
    from bench.evaluation.thresholds import parse_rule

    record = take(write_scores(), native=0.25, rules=[parse_rule("quantile:0.9")]).record
    assert record["thresholds"]["native"]["value"] == 0.25
    assert "quantile:0.9" in record["metrics"]["all"]["rules"]
    with pytest.raises(BenchError, match="--native nan is no threshold"):
        take(write_scores(), native=float("nan"))


def test_a_header_blanks_and_scores_of_training_do_no_harm(take, write_scores, exported):
    train = [[f"{exported[1]['export']}.train.{i}", "1.5"] for i in range(3)]
    file = write_scores(lambda rows: [["id", "score"], *train, *reversed([[f" {i}", f" {s} "] for i, s in rows]), []])
    found = take(file)
    assert found.n_unused == 3
    assert found.record["scores_sha256"] == take(write_scores(), name="other").record["scores_sha256"]


def test_other_scores_never_replace_a_record_unasked(take, write_scores):
    first = take(write_scores()).record
    again = take(write_scores())
    assert not again.is_new
    assert again.record == first
    other = write_scores(lambda rows: [[i, str(-float(score))] for i, score in rows])
    with pytest.raises(BenchError, match=r"other scores of bgl@simulated, chronological, seed 0 .* add --replace"):
        take(other)
    assert take.store.read(first["run_id"]) == first
    assert take(other, replace=True).record["scores_sha256"] != first["scores_sha256"]


def changed(place, row):
    return lambda rows: [*rows[:place], row(*rows[place]), *rows[place + 1 :]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: rows[1:-1], r"leaves out 2 of 320 sequences, the first is '\w{8}.validation.0': score all of"),
        (lambda rows: [], "leaves out 320 of 320 sequences"),
        (lambda rows: [*rows, rows[3]], r"line 321: the sequence '\w{8}.validation.3' has a score already"),
        (changed(4, lambda i, s: [i, "nan"]), r"line 5: the score of '.*' is nan: every score must be finite"),
        (changed(4, lambda i, s: [i, "-inf"]), "is -inf: every score must be finite"),
        (changed(4, lambda i, s: [i, "high"]), "line 5: 'high' is no number"),
        (changed(4, lambda i, s: [i, ""]), "line 5: '' is no number"),
        (changed(4, lambda i, s: [i]), "line 5 has 1 columns: write a sequence id and a score"),
        (changed(4, lambda i, s: [i, s, "1"]), "line 5 has 3 columns"),
        (changed(4, lambda i, s: ["blk_17", s]), "line 5: 'blk_17' is no sequence of the export"),
        (changed(4, lambda i, s: [i + "7777", s]), "is no sequence of the export"),
        (changed(4, lambda i, s: [i.rpartition(".")[0] + ".-1", s]), "is no sequence of the export"),
        (changed(4, lambda i, s: [i.rpartition(".")[0] + ".²", s]), "is no sequence of the export"),
        (
            changed(4, lambda i, s: ["00000000" + i[8:], s]),
            "are of the export '00000000', and the folder is of",
        ),
    ],
)
def test_scores_that_are_not_all_that_is_asked_for(change, sentence, take, write_scores):
    with pytest.raises(BenchError, match=sentence):
        take(write_scores(change))
    assert not take.store.root.exists()


def test_scores_of_another_split_are_told_by_their_export(take, write_scores, tmp_path):
    other = tmp_path / "other"
    export("bgl@simulated", other, catalogue(), split="chronological:50,70", formats=["jsonl"])
    with pytest.raises(BenchError, match=r"is of \w{8} \(chronological:50,70, seed 0\): another scenario, split"):
        take(write_scores(), folder=other)


def test_a_manifest_that_is_not_what_was_written(take, write_scores, exported, tmp_path):
    file = write_scores()
    with pytest.raises(BenchError, match=r"manifest.json' cannot be read \(No such file or directory\)"):
        take(file, folder=tmp_path)
    path = tmp_path / "manifest.json"
    for content, sentence in (
        ("[]", "is of version"),
        ("{", "cannot be read"),
        (json.dumps(exported[1] | {"version": 9}), "is of version 9, this program reads 1: export again"),
        (json.dumps(exported[1] | {"told": {"source": "labels"}}), "was changed after the export"),
    ):
        path.write_text(content)
        with pytest.raises(BenchError, match=sentence):
            take(file, folder=tmp_path)
    assert not take.store.root.exists()


def test_data_or_a_protocol_that_changed_since(take, write_scores, monkeypatch):
    file = write_scores()
    monkeypatch.setattr("bench.exchange.manifest.export_id", lambda cell: "00000000")
    with pytest.raises(BenchError, match=r"is not of the data that are here .* export again"):
        take(file)
    monkeypatch.undo()
    monkeypatch.setattr("bench.exchange.manifest.PROTOCOL_VERSION", 99)
    with pytest.raises(BenchError, match="is of protocol 2, this program of 99: export again"):
        take(file)
    monkeypatch.undo()
    monkeypatch.setattr("bench.exchange.manifest.places_digest", lambda sequences: "")
    with pytest.raises(BenchError, match="the sequences of the part 'validation' are not those of the export"):
        take(file)


@pytest.mark.parametrize("name", ["ngram", "random", "a b", "", "x" * 99, "../x", "a|b"])
def test_a_name_that_no_row_can_have(name, take, write_scores):
    with pytest.raises(BenchError, match=r"is a method of this program|cannot stand in a table"):
        take(write_scores(), name=name)


def test_a_file_that_is_none(take, tmp_path):
    with pytest.raises(BenchError, match=r"gone\.csv' cannot be read"):
        take(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match=r"bytes\.csv' cannot be read"):
        take(tmp_path / "bytes.csv")


def test_under_a_split_that_the_seed_draws_each_needs_its_export(tmp_path, take):
    folder = tmp_path / "paper"
    manifest = export("hdfs@simulated", folder, catalogue(), split="paper", seed=1, formats=["jsonl"])
    rows = [
        f"{manifest['export']}.{part}.{number},{number % 7}"
        for part in manifest["to_score"]
        for number in range(manifest["parts"][part]["sequences"])
    ]
    (tmp_path / "scores.csv").write_text("\n".join(rows))
    with pytest.raises(BenchError, match="the seed draws the data, and the export is of seed 1"):
        take(tmp_path / "scores.csv", folder=folder, seed=0)
    assert take(tmp_path / "scores.csv", folder=folder).record["spec"]["seed"] == 1
