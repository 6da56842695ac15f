"""From logs as programs write them to what `bench data new` and `info` say: events, lines, and warnings."""

import json
import random
import re

import pytest


@pytest.fixture
def seen(call, tmp_path):
    """Write a log, make its card, and give what `new` and `info` say of it."""

    def make(lines, *options):
        log = tmp_path / "data" / "app.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("\n".join(lines) + "\n")
        data = ("--data", log.parent)
        code, out, _ = call("data", "new", "mine", log, "--json", *data, *options)
        assert code == 0
        code, facts, _ = call("data", "info", "mine", "--json", *data)
        assert code == 0
        assert call("data", "verify", "mine", *data)[:2] == (0, "mine@app: ok\n")
        return json.loads(out), json.loads(facts)

    return make


def test_an_access_log(seen):
    paths = ["/", "/api/users/{}", "/login"]
    lines = [
        f'10.0.0.{i % 9} - - [01/May/2024:10:{i // 60:02}:{i % 60:02} +0000] "GET {paths[i % 3].format(i)} HTTP/1.1" '
        f'{(200, 200, 404)[i // 3 % 3]} {i} "-" "curl"'
        for i in range(400)
    ]
    made, facts = seen(lines)
    assert made["read"][1]["message"] == "GET /api/users/<*> 2xx"
    assert (facts["templates"], facts["warnings"], made["warnings"]) == (6, [], [])


def test_traces_and_blank_lines(seen, call, tmp_path):
    lines = []
    for i in range(100):
        lines += [f"2024-05-01 10:{i // 60:02}:{i % 60:02},123 {('INFO', 'ERROR')[i % 4 == 0]} shop: order {i} seen"]
        lines += ["Traceback (most recent call last):", '  File "x.py", line 7', "ValueError: 7", "{", "}", ""] * (
            i % 4 == 0
        )
    made, facts = seen(lines)
    assert (made["lines"], facts["lines"], facts["events"], facts["templates"]) == (250, 250, 100, 2)
    assert facts["notes on the log"] == [
        "125 lines continue the event before them",
        "25 lines are skipped, as the card says",
    ]
    assert facts["defects"] == []
    assert [row["number"] for row in made["read"][:3]] == [1, 8, 9]
    assert not [note for note in made["notes"] if "do not match" in note]
    prepared = json.loads(call("data", "prepare", "mine", "--json", "--data", tmp_path / "data")[1])
    assert (prepared["lines"], prepared["events"]) == (250, 100)


def test_one_template_is_said(seen, call, tmp_path):
    made, facts = seen([f"{i} {i}" for i in range(100)])
    (warning,) = made["warnings"]
    assert "all 100 lines have one template, '<*> <*>'" in warning
    assert facts["warnings"] == [warning, "all 5 sequences are the same, so no detector can tell them apart"]
    out = call("data", "info", "mine", "--data", tmp_path / "data")[1]
    assert f"\nwarning: {warning}\n" in out


def test_lines_that_share_nothing_end_at_the_limit(seen, call, tmp_path):
    rng = random.Random(1)
    lines = [" ".join("".join(rng.choices("abcdef", k=6)) for _ in range(5)) for _ in range(300)]
    made, facts = seen(lines)
    assert len(made["warnings"]) == len(facts["warnings"]) == 2
    assert facts["templates"] == 300
    card = tmp_path / "data/mine/app.toml"
    card.write_text("max_templates = 100\n" + card.read_text())
    code, out, _ = call("data", "info", "mine", "--json", "--data", tmp_path / "data")
    facts = json.loads(out)
    assert (code, facts["templates"]) == (0, "more than 100")
    assert facts["warnings"][0].startswith("parsing was stopped: the first 101 lines have more than 100 templates")


def test_a_run_on_them_is_refused_in_one_sentence(own_system):
    from bench.data.sequences.loader import DataSpec, Loader
    from bench.errors import BenchError

    rng = random.Random(1)
    lines = [
        f"{'BAD' if i % 50 == 7 else '-'} " + " ".join("".join(rng.choices("abcdef", k=6)) for _ in range(5))
        for i in range(600)
    ]
    found = own_system({"a.log": "\n".join(lines).encode()}, format={"label": "first-token"}, max_templates=100)
    card = found.resolve("app")
    with pytest.raises(BenchError, match=re.escape("more than 100 templates")) as error:
        Loader(found).prepare(DataSpec((card,), (card,)))
    assert str(error.value).startswith(f"{card.key}: ")
