"""Fields of message parameters, graphs of events and fields, their disjoint union, and planted edges."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.types import Sequences, Words
from methods.shared.fields import field_texts, fields_of
from methods.shared.graphs import BEGIN, EVENT, FIELD, graphs_of, union_of
from methods.shared.planted import Planter

TEXTS = ("user <*> from <*>", "read <*>", "idle", "lost <*>")


def of(lists, words, texts=TEXTS):
    """Sequences of texts, and the words of each event in their order."""
    values = sorted({word for event in words for word in event})
    ids = np.array([values.index(word) for event in words for word in event], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in words])]).astype(np.int64)
    found = Words(pl.Series(values, dtype=pl.String), ids, offsets)
    return replace(Sequences.from_lists(lists, texts), words=found)


LOG = of(
    [[0, 1, 0], [2, 2], [], [0, 1, 0]],
    [
        ("anna", "10.0.0.1"), ("/var/log",), ("anna", "10.0.0.7"), (), (),
        ("anna", "10.1.1.1"), ("/var/log",), ("anna", "10.0.0.9"),
    ],
)  # fmt: skip


def edges_of(graphs, bag):
    """{(text, text): number} of a distinct graph."""
    part = slice(graphs.bags.offsets[bag], graphs.bags.offsets[bag + 1])
    kinds, texts = graphs.bags.ids[part], graphs.nodes.texts
    ends = zip(graphs.source[kinds], graphs.target[kinds], strict=True)
    numbers = graphs.bags.multiplicity[part].tolist()
    return {(texts[i], texts[j]): number for (i, j), number in zip(ends, numbers, strict=True)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10.250.19.102:54106", "address"),
        ("/10.250.19.102:54106", "address"),
        ("4096", "number of 4 digits"),
        ("-1.5", "number of 2 digits"),
        ("0x0b85eee0", "code"),
        ("3f9a01", "code"),
        ("/var/log/mail.7/out", "path var log out"),
        ("R02-M1-N0", "name"),
        ("node-17.Farm", "name"),
        ("root", "name root"),
        ("MpiRun,", "name mpirun"),
        ("blk_-1608999687919862906", "name"),
        ("", ""),
    ],
)
def test_a_value_is_its_kind_and_what_is_left_without_digits(value, text):
    assert field_texts(pl.Series([value])).to_list() == [text]


def test_fields_stand_in_the_order_of_the_message_and_unknown_values_are_left_out():
    fields = fields_of(of([[0, 2, 0]], [("anna", "7"), (), ("", "10.0.0.1")]).words)
    assert [fields.texts[i] for i in fields.ids] == ["name anna", "number of 1 digits", "address"]
    assert fields.offsets.tolist() == [0, 2, 2, 3]


def test_an_edge_stands_for_what_occurs_in_one_line_and_counts_how_often():
    graphs = graphs_of(LOG, successive=False)
    assert edges_of(graphs, 0) == {
        ("user <*> from <*>", "name anna"): 2,
        ("user <*> from <*>", "address"): 2,
        ("read <*>", "path var log"): 1,
    }
    assert graphs.counts.tolist() == [2, 2]
    assert {text: int(kind) for text, kind in zip(*graphs.nodes, strict=True)} == {
        "": BEGIN, "idle": EVENT, "read <*>": EVENT, "user <*> from <*>": EVENT,
        "address": FIELD, "name anna": FIELD, "path var log": FIELD,
    }  # fmt: skip


def test_an_event_follows_the_one_before_it_and_never_one_of_another_sequence():
    graphs = graphs_of(LOG, successive=True)
    assert edges_of(graphs, 1) == {("", "idle"): 1, ("idle", "idle"): 1}
    assert edges_of(graphs, 0)["", "user <*> from <*>"] == 1
    assert edges_of(graphs, 0)["read <*>", "user <*> from <*>"] == 1


def test_each_edge_of_an_event_is_found_in_its_graph():
    graphs = graphs_of(LOG, successive=True)
    kinds = graphs.bags.ids[graphs.edge_of]
    texts = graphs.nodes.texts
    ends = [
        (int(e), texts[graphs.source[k]], texts[graphs.target[k]]) for e, k in zip(graphs.event_of, kinds, strict=True)
    ]
    assert ("read <*>", "path var log") in {(s, t) for e, s, t in ends if e == 6}
    assert {(s, t) for e, s, t in ends if e == 3} == {("", "idle")}
    assert {(s, t) for e, s, t in ends if e == 2} == {
        ("user <*> from <*>", "name anna"), ("user <*> from <*>", "address"), ("read <*>", "user <*> from <*>"),
    }  # fmt: skip
    assert [e for e, *_ in ends] == sorted(e for e, *_ in ends)


def test_a_union_holds_each_graph_by_itself():
    graphs = graphs_of(LOG, successive=True)
    union = union_of(graphs, np.array([1, 0]))
    texts = np.array(graphs.nodes.texts, object)[union.nodes]
    assert (union.graph_of_node[union.source] == union.graph_of).all()
    assert (union.graph_of_node[union.target] == union.graph_of).all()
    for place, bag in enumerate([1, 0]):
        here = union.graph_of == place
        ends = zip(texts[union.source[here]], texts[union.target[here]], strict=True)
        assert dict(zip(ends, union.weight[here].tolist(), strict=True)) == edges_of(graphs, bag)
    assert (texts == "").sum() == 2


@pytest.mark.parametrize("how", ["inserted", "beside"])
def test_a_planted_edge_is_never_a_true_one_and_keeps_one_end(how):
    rng = np.random.default_rng(0)
    texts = tuple(f"text {chr(97 + i)} <*>" for i in range(12))
    lists = [rng.integers(0, 12, 8).tolist() for _ in range(30)]
    words = [(f"user {chr(97 + int(rng.integers(9)))}",) for row in lists for _ in row]
    graphs = graphs_of(of(lists, words, texts), successive=False)
    known = set(zip(graphs.source.tolist(), graphs.target.tolist(), strict=True))
    planter = Planter(graphs, how, 1.0, seed=0)
    union = union_of(graphs, np.arange(len(graphs.counts)))
    plants = planter.plant(union)
    assert len(plants.own) > 50
    nodes = np.concatenate([union.nodes, plants.nodes])
    same_source = plants.source == union.source[plants.own]
    same_target = plants.target == union.target[plants.own]
    assert (same_source ^ same_target).all()
    assert 0.2 < same_source.mean() < 0.8
    planted = list(zip(nodes[plants.source].tolist(), nodes[plants.target].tolist(), strict=True))
    if how == "inserted":
        assert not known & set(planted)
        moved = np.where(same_source, plants.target, plants.source)
        replaced = np.where(same_source, union.target[plants.own], union.source[plants.own])
        of_node = np.concatenate([union.graph_of_node, plants.graph_of_node])
        assert len(np.unique(nodes + 1000 * of_node)) == len(nodes)
        assert (of_node[plants.source] == union.graph_of[plants.own]).all()
        assert (of_node[plants.target] == union.graph_of[plants.own]).all()
        assert 0 < len(plants.nodes) < len(plants.own)
        assert (graphs.nodes.kinds[nodes[moved]] == graphs.nodes.kinds[nodes[replaced]]).all()
    else:
        ends = zip(plants.source.tolist(), plants.target.tolist(), strict=True)
        assert not set(zip(union.source.tolist(), union.target.tolist(), strict=True)) & set(ends)
        assert (union.graph_of_node[plants.source] == union.graph_of_node[plants.target]).all()


def test_without_any_other_edge_nothing_is_planted():
    graphs = graphs_of(of([[1], [1]], [("anna",), ("anna",)]), successive=False)
    assert len(Planter(graphs, "inserted", 1.0, seed=0).plant(union_of(graphs, np.array([0]))).own) == 0
