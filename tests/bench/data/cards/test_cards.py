"""Cards: what is shipped is complete, what a user brings works, and what is wrong says so in one sentence."""

import dataclasses
import hashlib
import json
import os
import re
import time
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from bench import _sealed
from bench.data.cards import catalogue as catalogue_module
from bench.data.cards.card import Card, DataFile, Format, LabelPlace, ParserSettings
from bench.data.cards.catalogue import Catalogue, catalogue
from bench.data.cards.checksums import file_sha256
from bench.data.cards.fetched import Download
from bench.data.cards.origin import Origin
from bench.data.reading.read import read
from bench.data.sequences.loader import DataSpec, Loader
from bench.errors import BenchError

ROOT = Path(__file__).parents[4]
LINES = b"- one\n- two\nBAD three\n"
FIRST_TOKEN = {"label": "first-token"}
# What stands in none of the sources at hand: how many lines they have, and how many are abnormal.
UNCOUNTED = ("liberty@full", "spirit@full")
UNCONFIRMED = (*UNCOUNTED, "tbird@full", "openstack@full")


def complaint(call, *arguments, **fields):
    """The sentence a BenchError consists of."""
    with pytest.raises(BenchError) as caught:
        call(*arguments, **fields)
    text = str(caught.value)
    assert "\n" not in text
    assert ":" in text, "the way out stands behind a colon"
    return text


@pytest.fixture
def edited(own_system, tmp_path):
    """The complaint about a working card after `old` was replaced by `new` in it."""
    own_system({"a.log": LINES}, format=FIRST_TOKEN, parser={"masks": ["x+"]})
    path = tmp_path / "data/app/mine.toml"

    def edit(old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return complaint(catalogue, tmp_path / "data")

    return edit


@pytest.mark.parametrize("card", catalogue().cards, ids=lambda card: card.key)
def test_shipped_cards_are_complete(card):
    for field in ("title", "licence", "citation", "notes", "tier", "kind"):
        assert getattr(card, field).strip(), field
    assert card.counts or card.key in UNCOUNTED
    assert all(count >= 0 for count in card.counts.values())
    assert any(key.startswith("abnormal_") for key in card.counts) or card.key in UNCONFIRMED
    assert card.digests()
    form = "md5:[0-9a-f]{32}/.+" if card.download else "[0-9a-f]{64}"
    unpublished = {file.is_unpublished for file in card.files}
    assert unpublished <= {False} or (unpublished == {True} and card.origin), (
        "whoever has to find the files is told where"
    )
    assert all(re.fullmatch("" if True in unpublished else form, digest) for digest in card.digests().values())


def test_shipped_editions():
    keys = {card.key for card in catalogue().cards}
    assert {"bgl@raw12k", "bgl@stream-a", "hdfs@blocks-a", "hdfs@sessions-345k", "tbird@raw29k"} <= keys
    assert {"spirit@lines-a", "bgl@simulated", "tbird@simulated", "hdfs@simulated"} <= keys


def test_full_editions():
    found = catalogue()
    for key in ("bgl@full", "hdfs@full", "tbird@full"):
        card = found.find(key)
        assert (card.tier, card.kind, card.rank) == ("evaluation", "lines", 100)
        assert card.download.url.startswith("https://zenodo.org/records/8196385/files/")
        assert all(file.max_bytes > 10_000_000 for file in card.files)
    assert found.find("bgl@full").digests() == {"bgl/BGL.log": "md5:4452953c470f2d95fcb32d5f6e733f7a/BGL.log"}
    assert list(found.find("hdfs@full").digests()) == ["hdfs/HDFS.log", "hdfs/anomaly_label.csv"]
    assert [file.role for file in found.find("hdfs@full").files] == ["log", "labels"]


def test_the_identity_of_recorded_runs_stays():
    """These stand in the run ids of stored records: what changes them makes every record an orphan."""
    card = catalogue().find("bgl@raw12k")
    assert card.digests() == {
        "bgl/first10k.log.gz": "07f88cda5f0b898a97de85c05935820850494059878b9ea782ae50390e8f3757",
        "bgl/sampled2k.log.gz": "352359c731d1b17d06bb2bfddd56675dfc8331c1869b6340139c8ae765f1263b",
    }
    rest = json.dumps([card.format.identity(), dataclasses.asdict(card.parser), card.drop_events])
    assert (
        hashlib.sha256(rest.encode()).hexdigest() == "650883fe2485d1bba37f7a568788b3393802e470525fade26c7b04e4abe71a59"
    )


MAY_BE_TUNED_ON = {"iotdb_multilog@network3_multi"}


def test_only_the_systems_that_may_be_tuned_on_are_development():
    for card in catalogue().cards:
        may_be = card.name in ("spirit", "liberty") or card.kind == "simulated" or card.key in MAY_BE_TUNED_ON
        assert (card.tier == "development") == may_be, card.key


def test_every_key_of_a_card_is_documented_with_an_example():
    text = (ROOT / "datasets/README.md").read_text()
    blocks = re.findall("```toml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        tomllib.loads(block)
    parts = {Card: {"name", "edition", "lines"}, DataFile: {"is_unpublished", "archive"}}
    parts |= {part: set() for part in (Format, ParserSettings, Download, Origin)}
    for part, internal in parts.items():
        for key in {field.name for field in dataclasses.fields(part)} - internal:
            assert re.search(rf"(?m)^(?:# )?\[*{key}(?:\]| = )", "\n".join(blocks)), f"{part} {key}"
    assert {f'label = "{way}"' for way in get_args(LabelPlace)} <= {line.split("   ")[0] for line in text.splitlines()}


def test_datasets_is_no_python_package():
    assert (ROOT / "datasets").is_dir()
    assert not list((ROOT / "datasets").rglob("*.py"))


def test_bare_name_without_data_is_the_simulated_edition():
    assert catalogue().resolve("bgl").key == "bgl@simulated"


def test_bare_name_takes_the_highest_rank_that_is_here(own_system, tmp_path):
    own_system({"low.log": LINES}, edition="low", rank=20, format=FIRST_TOKEN)
    found = own_system({"high.log": LINES}, edition="high", rank=30, format=FIRST_TOKEN)
    assert found.resolve("app").key == "app@high"
    assert found.resolve("app@low").key == "app@low"
    assert [card.key for card in found.editions("app")] == ["app@high", "app@low"]
    (tmp_path / "data/app/high.log").unlink()
    assert found.resolve("app").key == "app@low"


def test_bare_name_with_an_own_edition_of_a_shipped_system(own_system):
    found = own_system({"a.log": LINES}, name="bgl", edition="mine", rank=99, format=FIRST_TOKEN)
    assert found.resolve("bgl").key == "bgl@mine"


def test_bare_names_with_the_real_data(real_data):
    found = catalogue(real_data)
    best = {name: found.resolve(name).key for name in ("bgl", "hdfs", "spirit", "tbird")}
    assert best == {
        "bgl": "bgl@text-stream-a",
        "hdfs": "hdfs@blocks-a",
        "spirit": "spirit@lines-a",
        "tbird": "tbird@raw29k",
    }


def test_alias():
    found = catalogue()
    assert "thunderbird" in found.names
    assert found.resolve("thunderbird") == found.resolve("tbird")
    assert found.resolve("thunderbird@simulated").key == "tbird@simulated"


def test_the_folder_may_come_from_the_environment(own_system, monkeypatch, tmp_path):
    own_system({"a.log": LINES}, format=FIRST_TOKEN)
    assert "app" not in catalogue().names
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    assert "app" in catalogue().names


def test_unknown_name():
    text = complaint(catalogue().resolve, "bgk")
    assert "'bgk'" in text
    assert "bgl, hadoop, hadoop_ids, hdfs, iotdb_multilog, liberty, nezha_trainticket, openstack" in text


def test_unknown_edition():
    text = complaint(catalogue().resolve, "bgl@raw13k")
    assert "'bgl@raw13k'" in text
    assert "bgl@raw12k" in text


@pytest.mark.parametrize("key", ["", "BGL", "bgl@", "@raw12k", "bgl raw12k", "../bgl", "bgl@raw12k\n"])
def test_what_is_no_key(key):
    with pytest.raises(BenchError, match="is no data set") as caught:
        catalogue().resolve(key)
    assert f"'{key}'" in str(caught.value)


def test_edition_without_a_data_folder():
    text = complaint(catalogue().resolve, "bgl@raw12k")
    assert "bgl@raw12k" in text
    assert "bgl/first10k.log.gz" in text
    assert "BENCH_DATA" in text


def test_edition_whose_file_is_not_there(tmp_path):
    text = complaint(catalogue(tmp_path).resolve, "bgl@raw12k")
    assert "bgl/first10k.log.gz" in text
    assert str(tmp_path) in text


def test_bare_name_without_any_available_edition():
    text = complaint(catalogue().resolve, "spirit")
    assert "'spirit'" in text
    assert "spirit/spirit2.gz" in text
    assert "`bench data fetch spirit@lines-a`" in text


@pytest.mark.parametrize(
    ("name", "file", "origin"),
    [
        ("hadoop", "hadoop/Hadoop.zip", "https://zenodo.org/records/8196385/files/Hadoop.zip"),
        ("openstack", "openstack/anomaly_labels.txt", "https://zenodo.org/records/8196385/files/OpenStack.tar.gz"),
        ("liberty", "liberty/liberty2.gz", "https://www.usenix.org/cfdr-data"),
        ("spirit", "spirit/spirit2.gz", "https://www.usenix.org/cfdr-data"),
    ],
)
def test_what_is_put_there_by_hand_says_where_it_comes_from(tmp_path, name, file, origin):
    for key in (name, f"{name}@full"):
        for folder, where in ((None, "BENCH_DATA or give --data DIR"), (tmp_path, str(tmp_path))):
            text = complaint(catalogue(folder).resolve, key)
            assert file in text
            assert origin in text
            assert where in text


def test_only_what_is_missing_is_asked_for(tmp_path):
    (tmp_path / "openstack").mkdir()
    (tmp_path / "openstack/anomaly_labels.txt").write_text("x")
    found = catalogue(tmp_path)
    text = found.how_to_get(found.find("openstack@full"))
    assert "anomaly_labels.txt" not in text
    assert "openstack_normal2.log" in text


def test_data_folder_that_does_not_exist(tmp_path):
    text = complaint(catalogue, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in text


def test_a_path_needs_a_folder_and_the_file(own_system, tmp_path):
    found = own_system({"a.log": LINES}, format=FIRST_TOKEN)
    file = found.resolve("app").files[0]
    assert found.path(file).read_bytes() == LINES
    assert "BENCH_DATA" in complaint(Catalogue(found.cards, None).path, file)
    (tmp_path / "data/app/a.log").unlink()
    assert "'app/a.log'" in complaint(found.path, file)


def test_wrong_checksum(own_system, tmp_path):
    found = own_system({"a.log": LINES}, format=FIRST_TOKEN)
    card = found.resolve("app")
    assert len(read(card, found)) == 3
    (tmp_path / "data/app/a.log").write_bytes(LINES + b"- four\n")
    text = complaint(read, card, found)
    assert "'app/a.log'" in text
    assert "checksum" in text
    assert card.files[0].sha256[:12] in text


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that are hashed from here on."""
    names, digest = [], hashlib.file_digest

    def count(stream, kind):
        names.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", count)
    return names


def settle():
    """Let so much time go by that a file may be known by its times."""
    time.sleep(0.15)


def test_a_checksum_is_computed_once(own_system, hashed):
    found = own_system({"a.log": LINES}, format=FIRST_TOKEN)
    settle()
    for _ in range(3):
        found.path(found.resolve("app").files[0])
    assert hashed == ["a.log"]
    found.path(found.resolve("app").files[0], thorough=True)
    assert hashed == ["a.log"] * 2


LARGE = LINES * 100_000
"""Above the size from which a checksum is noted on disk."""


@pytest.fixture
def noted(own_system, hashed, tmp_path, monkeypatch):
    """A large file whose checksum was noted, and that; no other memory of it is left."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    found = own_system({"a.log": LARGE}, format=FIRST_TOKEN)
    settle()
    path = found.path(found.resolve("app").files[0])
    (note,) = (tmp_path / "cache" / "checksums").iterdir()
    assert hashed == ["a.log"]
    hashed.clear()
    _sealed._checked.clear()
    assert file_sha256(path) == hashlib.sha256(LARGE).hexdigest()
    assert hashed == []
    return path, note


@pytest.mark.parametrize("text", [b"", b"\0" * 64, b"a" * 64, b"{", b"[]", b"\xff", None])
def test_a_damaged_note_is_not_taken_for_a_checksum(noted, hashed, capsys, text):
    path, note = noted
    content = note.read_bytes()
    digit = content.index(b'"sha256": "') + 11
    flipped = content[:digit] + bytes([content[digit] ^ 1]) + content[digit + 1 :]
    note.write_bytes(flipped if text is None else text)
    assert file_sha256(path) == hashlib.sha256(LARGE).hexdigest()
    assert hashed == ["a.log"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the checksum of a.log: damaged in the cache (")
    _sealed._checked.clear()
    assert file_sha256(path) == hashlib.sha256(LARGE).hexdigest()
    assert hashed == ["a.log"]
    assert note.read_bytes() == content


@pytest.mark.parametrize("replaced", [False, True], ids=["in place", "another file"])
def test_a_file_of_the_same_size_and_time_is_another(noted, hashed, replaced):
    path, _ = noted
    times = path.stat()
    other = LARGE.replace(b"- one", b"BAD 1", 1)
    if replaced:
        path.with_name("new").write_bytes(other)
        path.with_name("new").replace(path)
    else:
        with path.open("r+b") as stream:
            stream.write(other)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert file_sha256(path) == hashlib.sha256(other).hexdigest()
    assert hashed == ["a.log"]


def test_a_file_that_changes_while_it_is_hashed_has_no_checksum(own_system, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    found = own_system({"a.log": LARGE}, format=FIRST_TOKEN)
    path, digest = tmp_path / "data/app/a.log", hashlib.file_digest
    settle()

    def change(stream, kind):
        made = digest(stream, kind)
        with path.open("ab") as other:
            other.write(b"- more\n")
        return made

    monkeypatch.setattr(hashlib, "file_digest", change)
    assert "changed while it was read" in complaint(found.path, found.resolve("app").files[0])
    monkeypatch.undo()
    assert not list((tmp_path / "cache").rglob("*.json"))
    assert file_sha256(path) == hashlib.sha256(LARGE + b"- more\n").hexdigest()


def test_a_note_that_cannot_be_written_is_done_without(own_system, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    found = own_system({"a.log": LARGE}, format=FIRST_TOKEN)
    settle()
    assert found.path(found.resolve("app").files[0]).read_bytes() == LARGE


def test_own_card_with_the_key_of_a_shipped_one(own_system):
    text = complaint(own_system, {"a": b""}, name="bgl", edition="raw12k")
    assert "bgl@raw12k" in text
    assert "rename" in text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("format", "colour = 1\nformat", "'colour'"),
        ("format", "name = 'x'\nformat", "'name'"),
        ("format = {", "format = {{", "TOML"),
        ("label = ", "label ", "TOML"),
        ("label", "labels", "labels"),
        ("first-token", "first_token", "first_token"),
        ("sha256", "sha", "sha"),
        ('role = "log"', 'role = "logs"', "'logs'"),
        ('role = "log"', 'role = "labels"', "role = 'log'"),
        ('["x+"]', '["x+", "("]', "'('"),
        ('["x+"]', '"x+"', "masks"),
        ("label =", 'header = "[", label =', "'['"),
        ("label =", 'header = "^.*$", label =', "message"),
        ("label =", 'session = "(", label =', "'('"),
        ('"first-token"', '"label-file"', "label_key"),
        ("format", "kind = 'binary'\nformat", "'binary'"),
        ("format", "tier = 'gold'\nformat", "'gold'"),
        ("format", "rank = 'high'\nformat", "'high'"),
        ("format", "aliases = 'a'\nformat", "aliases"),
        ("files", "drop_events = 1 #", "no file"),
    ],
)
def test_mistakes_in_a_card(edited, old, new, expected):
    text = edited(old, new)
    assert "mine.toml" in text
    assert expected in text


def test_a_mistyped_checksum(edited):
    text = edited('sha256 = "', 'sha256 = "XY')
    assert "64 hex digits" in text


def test_incomplete_card(own_system, tmp_path):
    own_system({"a.log": LINES})
    system = tmp_path / "data/app/_system.toml"
    system.write_text("\n".join(line for line in system.read_text().splitlines() if not line.startswith("licence")))
    assert "'licence'" in complaint(catalogue, tmp_path / "data")


def test_card_that_is_no_text(own_system, tmp_path):
    own_system({"a.log": LINES})
    (tmp_path / "data/app/mine.toml").write_bytes(b"\xff\xfe")
    assert "mine.toml" in complaint(catalogue, tmp_path / "data")


def test_name_that_cannot_be_asked_for(own_system):
    text = complaint(own_system, {"a.log": LINES}, name="MyApp")
    assert "MyApp@mine" in text
    assert "lower-case" in text


def test_an_edition_overrides_its_system(own_system):
    found = own_system({"a.log": LINES}, title="This one", tier="evaluation", format=FIRST_TOKEN)
    card = found.resolve("app")
    assert (card.title, card.tier, card.licence) == ("This one", "evaluation", "MIT")


def test_an_edition_overrides_single_keys_of_format_and_parser(own_system, tmp_path):
    own_system({"a.log": LINES}, format={"year": 2020}, parser={"depth": 5})
    with (tmp_path / "data/app/_system.toml").open("a") as system:
        system.write('[format]\nlabel = "first-token"\nyear = 2010\n[parser]\nmasks = ["x+"]\n')
    card = catalogue(tmp_path / "data").resolve("app")
    assert (card.format.label, card.format.year) == ("first-token", 2020)
    assert (card.parser.masks, card.parser.depth) == (("x+",), 5)


def test_digests(own_system):
    card = own_system({"a.log": b"", "b.log": b"x"}, format=FIRST_TOKEN).resolve("app")
    assert card.digests() == {
        "app/a.log": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "app/b.log": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    }
    simulated = catalogue().resolve("hdfs@simulated")
    assert simulated.digests() == dict(simulated.sha256)


def test_installed_cards_are_found_first(tmp_path, monkeypatch):
    package = tmp_path / "bench"
    (package / "data").mkdir(parents=True)
    monkeypatch.setattr(catalogue_module, "__file__", str(package / "data/cards/catalogue.py"))
    assert catalogue_module._shipped_folder() == tmp_path / "datasets"
    (package / "_cards").mkdir()
    assert catalogue_module._shipped_folder() == package / "_cards"


def test_logs_of_ones_own_end_to_end(own_system):
    lines = [f"{'BAD' if i in (5, 190) else '-'} {i} {'abc'[i % 3]} step" for i in range(200)]
    found = own_system(
        {"a.log": "\n".join(lines[:100]).encode(), "b.log": "\n".join(lines[100:]).encode()},
        format={"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"},
    )
    card = found.resolve("app")
    made = Loader(found).prepare(DataSpec((card,), (card,)))
    assert made.systems == ("app@mine",)
    # Windows end at lines 19, 39, ..., 199; the cuts are 120 and 160.
    assert made.train.labels.tolist() == [1, 0, 0, 0, 0, 0]
    assert made.validation.labels.tolist() == [0, 0]
    assert made.test.labels.tolist() == [0, 1]
    assert made.train.sequences.texts == ("a step", "b step", "c step")
