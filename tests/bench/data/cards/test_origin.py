"""Where files come from: said by every card, no part of any identity; labels where methods could see them."""

import dataclasses
import re

import pytest

from bench.data.cards.card import load_folder
from bench.data.cards.catalogue import catalogue
from bench.data.cards.origin import STEPS
from bench.data.reading.prepared import open_prepared, prepared_folder
from bench.data.reading.raw import open_raw
from bench.errors import BenchError
from bench.experiment.spec import edition_facts

SHA = "0" * 64
ORIGIN = f"""repository = "https://github.com/nobody/logs"
commit = "{"0" * 40}"
path = "app.log"
licence = "MIT"
sha256 = "{SHA}"
bytes = 5
steps = [{{ gzip = "" }}]
"""
SYSTEM = 'title = "t"\nlicence = "l"\ncitation = "c"\ntier = "smoke"\nrank = 1\nkind = "lines"\n'


@pytest.fixture
def card_of(tmp_path):
    """The card of a folder, from the text of its origin and further keys."""

    def build(origin=ORIGIN, keys="", form='[format]\nlabel = "first-token"\n'):
        folder = tmp_path / "app"
        folder.mkdir(exist_ok=True)
        (folder / "_system.toml").write_text(SYSTEM)
        (folder / "one.toml").write_text(
            f'{keys}\n[[files]]\nname = "app/app.log.gz"\nsha256 = "{SHA}"\n'
            f"{origin and '[files.origin]'}\n{origin}\n{form}"
        )
        (card,) = load_folder(tmp_path)
        return card

    return build


def complaint(call, *arguments, **options):
    with pytest.raises(BenchError) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "card", [card for card in catalogue().cards if card.kind != "simulated"], ids=lambda card: card.key
)
def test_every_real_card_says_where_its_files_come_from(card):
    for file in card.files:
        if file.origin is None:
            assert card.download is not None or card.origin, file.name
            continue
        assert file.origin.repository
        assert file.origin.licence
        assert file.origin.steps or len(file.origin.recipe) > 40, file.name
        assert file.content or not file.name.endswith((".gz", ".npz")), file.name


def test_editions_that_can_be_made():
    makeable = {card.key for card in catalogue().cards if card.has_recipe}
    assert {"spirit@lines-a", "bgl@raw12k", "tbird@raw29k", "hadoop_ids@ait", "iotdb_multilog@export"} <= makeable
    assert not {"bgl@stream-a", "hdfs@blocks-a", "bgl@text-stream-a"} & makeable


def test_an_origin_is_no_part_of_any_identity(card_of):
    with_origin, without = card_of(), card_of(origin="")
    assert with_origin.files[0].origin is not None
    packed = dataclasses.replace(
        with_origin, files=(dataclasses.replace(with_origin.files[0], content=SHA),), origin="elsewhere"
    )
    assert edition_facts(with_origin) == edition_facts(without) == edition_facts(packed)
    assert prepared_folder(with_origin) == prepared_folder(without) == prepared_folder(packed)


def test_a_cut_by_files_and_a_mark_are_part_of_it(card_of):
    form = '[format]\nlabel = "none"\n'
    plain, cut, marked = (
        card_of(form=form),
        card_of(keys='cut = "file"', form=form),
        card_of(form=f"{form}mark = '^- '\n"),
    )
    assert "cut" not in edition_facts(plain)
    assert "mark" not in edition_facts(plain)["format"]
    assert edition_facts(cut) == edition_facts(plain) | {"cut": "file"}
    assert prepared_folder(cut) == prepared_folder(plain) != prepared_folder(marked)
    assert edition_facts(marked)["format"]["mark"] == "^- "


def test_the_address_follows_from_repository_commit_and_path(card_of):
    origin = card_of(ORIGIN.replace("app.log", "a b/app.log")).files[0].origin
    assert origin.address == f"https://raw.githubusercontent.com/nobody/logs/{'0' * 40}/a%20b/app.log"
    assert card_of(ORIGIN + 'url = "http://127.0.0.1/x"\n').files[0].origin.address == "http://127.0.0.1/x"


def test_a_shared_origin_and_a_text(card_of):
    rest = "".join(line + "\n" for line in ORIGIN.splitlines() if not line.startswith(("repository", "licence")))
    card = card_of(rest, keys='origin = { repository = "https://github.com/nobody/logs", licence = "none stated" }')
    assert card.files[0].origin.licence == "none stated"
    assert card.origin == ""
    assert card_of(origin="", keys='origin = "from a tape"').origin == "from a tape"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('licence = "MIT"', "", "without licence"),
        ('repository = "https://github.com/nobody/logs"', "", "without repository"),
        ("steps = [{ gzip", "# [{ gzip", "without steps"),
        (f'commit = "{"0" * 40}"', 'commit = "0000000"', "all 40 hex digits"),
        (f'commit = "{"0" * 40}"', 'commit = "HEAD"', "7 to 40 hex digits"),
        ("bytes = 5", "", "give sha256 (64 hex digits) and bytes"),
        ("bytes = 5", "bytes = true", "bytes = True"),
        (f'sha256 = "{SHA}"', 'sha256 = "0"', "give sha256"),
        ("github.com/nobody", "example.org/nobody", "no address"),
        ('{ gzip = "" }', '{ shred = "" }', "is none of unpack"),
        ('{ gzip = "" }', '{ gzip = "", rows = 3 }', "is none of unpack"),
        ('{ gzip = "" }', "3", "is no table"),
        ('path = "app.log"', 'colour = "red"', "colour"),
        *(
            ('{ gzip = "" }', f"{{ {name} = {value} }}", f"write {STEPS[name]}")
            for name, value in (
                ("unpack", '"rar"'),
                ("member", '""'),
                ("columns", '"a"'),
                ("columns", "[]"),
                ("rows", "0"),
                ("rows", "true"),
                ("rows", "[3, 3]"),
                ("sort", "0"),
                ("after", "1"),
                ("number", '["one"]'),
                ("line_ends", '"crlf"'),
                ("final_newline", '"yes"'),
                ("gzip", "9"),
            )
        ),
    ],
)
def test_an_origin_that_cannot_be_followed(card_of, old, new, expected):
    assert old in ORIGIN
    text = complaint(card_of, ORIGIN.replace(old, new))
    assert expected in text
    assert re.search("the card .*one.toml", text)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("^(?P<label>\\S+) (?P<message>.*)$", "(?P<label>"),
        ("^(?:- )?(?P<time>[0-9]+) (?P<message>.*)$", "^(?:- "),
        ("^- (?P<message>.*)$", "^- "),
        ("^(-)? ?(?P<message>.*)$", "^(-)"),
    ],
)
@pytest.mark.parametrize("label", ["first-token", "none"])
def test_a_label_in_the_header_is_refused(card_of, header, found, label):
    text = complaint(card_of, form=f"[format]\nlabel = '{label}'\nheader = '{header}'\n")
    assert f"has the label in its header ('{found}" in text
    assert "mark = '^- '" in text


def test_a_mark_beside_a_first_token_is_refused(card_of):
    assert "leave it out" in complaint(card_of, form="[format]\nlabel = 'first-token'\nmark = '^- '\n")


def test_a_mark_is_seen_by_no_method(own_system):
    form = {"label": "incidents", "mark": "^- ", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
    found = own_system(
        {"a.log": b"- 1 walk far\n5 walk far\n- 9 walk far\n"}, format=form, incidents=[{"start": 4, "end": 6}]
    )
    log = open_prepared(found.resolve("app"), found)
    assert log.labels.tolist() == [0, 1, 0]
    assert list(log.messages) == ["walk far"]
    assert open_raw(found.resolve("app"), found, log).to_list() == ["1 walk far", "5 walk far", "9 walk far"]
