"""The block on words: which records it takes, and which changes it counts."""

import dataclasses

import pytest

from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.pages.gather import Results
from bench.reporting.pages.words import words
from bench.reporting.tables.table import make_tables


@pytest.fixture
def results(make_record):
    """Two transfers to bgl@b, and no probe yet."""
    records = []
    for source in ("hdfs@a", "spirit@c"):
        record = make_record("zerolog", 0, 0.5, split="transfer", edition=source, config={"of": source})
        record["spec"]["test"] = [{"edition": "bgl@b", "sha256": "00"}]
        record["tiers"] = {source: "evaluation", "bgl@b": "evaluation"}
        records.append(record | {"scenario": f"{source}2bgl@b", "run_id": source})
    return Results(tuple(make_tables(records)), 2, (), Verdicts.of([]))


def probe(method, auroc, *rows, source="hdfs@a", seed=0, asked=10, split="transfer"):
    """rows: (word, AUROC without it, half of the width of the change's interval)."""
    shown = [
        {
            "word": word,
            "auroc": without,
            "change": {"value": without - auroc, "low": without - auroc - half, "high": without - auroc + half},
        }
        for word, without, half in rows
    ]
    return {
        "probe": "words",
        "scenario": f"{source}2bgl@b",
        "split": split,
        "seed": seed,
        "method": method,
        "spec": {"options": {"words": asked}},
        "results": {"auroc": auroc, "rows": shown},
    }


def shown(results, *probes):
    return words(dataclasses.replace(results, probes=probes))


def line_of(text, start):
    return next(" ".join(line.split()) for line in text.splitlines() if line.startswith(start))


def test_the_word_that_moves_most_is_shown_for_each_pair_and_method(results):
    text = shown(
        results,
        probe("knn", 0.5, ("a|b", 0.45, 0.01), ("b", 0.52, 0.01), source="spirit@c"),
        probe("means", 0.4, ("b", 0.35, 0.01), ("c", 0.6, 0.05)),
        probe("means", 0.7, ("c" * 30, 0.75, 0.06), source="spirit@c"),
    )
    assert line_of(text, "| pair") == "| pair | knn | word | without it | means | word | without it |"
    assert line_of(text, "| hdfs@a2bgl@b") == "| hdfs@a2bgl@b | | | | .400 | `c` | .600 |"
    assert (
        line_of(text, "| spirit@c2bgl@b")
        == r"| spirit@c2bgl@b | .500 | `a\|b` | .450 | .700 | `ccccccccccccccccccccc...` | .750 ~ |"
    )


def test_far_and_across_chance_are_counted_where_the_interval_leaves_out_none(results):
    clear = probe("means", 0.4, ("c", 0.6, 0.05))
    vague = probe("means", 0.4, ("c", 0.6, 0.3), source="spirit@c")
    assert "- **means**, 2 pairs: one word moves AUROC by .100 or more on 1, and across .500 on 1 of these." in shown(
        results, clear, vague
    )
    same_side = probe("means", 0.7, ("c", 0.9, 0.05), source="spirit@c")
    near = probe("means", 0.49, ("c", 0.51, 0.001))
    assert "or more on 1, and across .500 on 0 of these." in shown(results, same_side, near)


def test_named_words_other_probes_later_seeds_and_other_pairs_are_left_out(results):
    kept = probe("means", 0.4, ("c", 0.6, 0.05))
    others = (
        probe("means", 0.4, ("d", 0.9, 0.05), asked=["d"]),
        probe("means", 0.3, ("e", 0.9, 0.05), seed=1),
        probe("means", 0.3, ("e", 0.9, 0.05), split="chronological"),
        probe("means", 0.4, ("f", 0.9, 0.05)) | {"probe": "router"},
        probe("means", 0.4, ("g", 0.9, 0.05), source="tbird@d"),
    )
    assert shown(results, *others[:1], kept, *others[1:]) == shown(results, kept)
    assert words(results) == "(no record)"
