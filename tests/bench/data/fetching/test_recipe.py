"""Recipes: from the file that a repository holds to the very file of the card, over a real server on 127.0.0.1."""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.cards.checksums import content_sha256
from bench.data.cards.origin import Step
from bench.data.fetching import recipe
from bench.data.fetching.fetch import downloadable, fetch, is_intact
from bench.data.fetching.http import Patience
from bench.data.reading.read import read
from bench.errors import BenchError

HASTY = Patience(stall_s=0.3, attempts=2, pause_s=0.01, longest_pause_s=0.05)
ROWS = [(f"{'-' if i % 7 else 'BAD'}", 1000 + 40 - i, f'event "{i % 3}", again') for i in range(40)]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zipped(content, name="app.csv"):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return made.getvalue()


def tarred(content, name="app.csv"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def as_csv(rows):
    fields = "".join('x,{},{},"{}"\r\n'.format(label, time, text.replace('"', '""')) for label, time, text in rows)
    return f"id,label,time,text\r\n{fields}".encode()


LINES = sorted(f"{label} {time} {text}\n" for label, time, text in ROWS[:30])
LINES = "".join(sorted(LINES, key=lambda line: int(line.split()[1]))).encode()
"""What the recipe below makes: 30 rows, by their time."""
STEPS = """steps = [
  { member = "app.csv" },
  { columns = ["label", "time", "text"], join = " " },
  { rows = 30 },
  { sort = 2 },
  { gzip = "app.log" },
]
"""


def packed(content, name="app.log", level=9):
    made = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, made, mtime=0) as stream:
        stream.write(content)
    return made.getvalue()


@pytest.fixture
def recipe_of(web, tmp_path):
    """A card whose file is made of one that the server holds; returns the data folder."""

    def write(source=None, steps=STEPS, made=None, content=LINES, words=""):
        source = zipped(as_csv(ROWS)) if source is None else source
        made = packed(content) if made is None else made
        web.files["/0123/logs.zip"] = source
        folder = tmp_path / "data" / "app"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_system.toml").write_text(
            'title = "An application"\nlicence = "none"\ncitation = "A. Nobody 2001"\nkind = "lines"\ntier = "smoke"\n'
            'rank = 10\n[format]\nlabel = "first-token"\n[origin]\nrepository = "https://github.com/nobody/logs"\n'
            'licence = "none stated"\n'
        )
        (folder / "made.toml").write_text(
            f'[[files]]\nname = "app/app.log.gz"\nsha256 = "{sha256(made)}"\ncontent = "{sha256(content)}"\n'
            f'[files.origin]\nurl = "{web.url}/0123/logs.zip"\npath = "logs.zip"\nsha256 = "{sha256(source)}"\n'
            f'bytes = {len(source)}\nrecipe = "{words}"\n{steps}'
        )
        return tmp_path / "data"

    return write


def load(data):
    known = catalogue(data)
    return fetch(downloadable(known, "app"), known, patience=HASTY)


def complaint(call, *arguments):
    with pytest.raises(BenchError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert ":" in text
    return text


def left(data):
    return sorted(path.name for path in data.rglob("*") if path.is_file() and path.suffix != ".toml")


def test_the_very_file_is_made(web, recipe_of):
    data = recipe_of()
    fetched = load(data)
    made = (data / "app/app.log.gz").read_bytes()
    assert made == packed(LINES)
    assert gzip.decompress(made) == LINES
    assert not fetched.was_there
    assert fetched.files[0]["sha256"] == sha256(made)
    assert left(data) == ["app.log.gz"]
    known = catalogue(data)
    assert len(read(known.resolve("app"), known)) == 30
    assert load(data).was_there
    assert len(web.requests) == 1


def test_a_source_that_changed_is_refused(web, recipe_of):
    data = recipe_of()
    for other in (zipped(as_csv(ROWS[:-1])), web.files["/0123/logs.zip"][:-1] + b"?"):
        web.files["/0123/logs.zip"] = other
        text = complaint(load, data)
        assert "no longer the file that the recipe of 'app@made' starts from" in text
        assert "0123/logs.zip" in text
        assert left(data) == []


def test_a_recipe_that_makes_another_file_is_refused(recipe_of):
    data = recipe_of(steps=STEPS.replace("rows = 30", "rows = 29"))
    assert "makes another file" in complaint(load, data)
    assert "app.log.gz" not in left(data)


def test_a_packer_of_another_kind_makes_the_same_file(recipe_of):
    """The card knows the content: zlib of another build packs it otherwise."""
    data = recipe_of(made=packed(LINES, level=1))
    load(data)
    known = catalogue(data)
    assert is_intact(known.find("app@made"), known)
    assert (data / "app/app.log.gz").read_bytes() == packed(LINES)


def test_what_is_there_is_not_written_over(web, recipe_of):
    data = recipe_of()
    (data / "app/app.log.gz").write_bytes(b"mine")
    assert "move it away" in complaint(load, data)
    assert (data / "app/app.log.gz").read_bytes() == b"mine"
    assert web.requests == []


def test_offline_and_by_hand(web, recipe_of, monkeypatch):
    data = recipe_of()
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    text = complaint(load, data)
    assert "BENCH_OFFLINE" in text
    assert "app.log.gz.source" in text
    source = data / "app/app.log.gz.source"
    source.write_bytes(b"something else")
    assert "wrong checksum" in complaint(load, data)
    source.write_bytes(web.files["/0123/logs.zip"])
    load(data)
    assert left(data) == ["app.log.gz"]
    assert web.requests == []


def test_words_are_told_and_not_followed(web, recipe_of):
    data = recipe_of(steps="", words="chain the windows")
    text = complaint(downloadable, catalogue(data), "app@made")
    assert "'app/app.log.gz' takes more than declared steps" in text
    assert "bench audit data app@made" in text
    assert web.requests == []


def test_a_file_that_was_packed_again_is_recognised(recipe_of, tmp_path):
    data = recipe_of()
    known = catalogue(data)
    card, path = known.find("app@made"), data / "app/app.log.gz"
    for again in (packed(LINES, "other", 1), gzip.compress(LINES), bz2.compress(LINES), lzma.compress(LINES)):
        path.write_bytes(again)
        assert content_sha256(path) == sha256(LINES)
        assert known.path(card.files[0]) == path
    path.write_bytes(gzip.compress(LINES + b"- 1 more\n"))
    assert "wrong checksum" in complaint(known.path, card.files[0])
    path.write_bytes(gzip.compress(LINES)[:-9])
    assert "wrong checksum" in complaint(known.path, card.files[0])


def test_the_content_of_a_zip_is_that_of_its_files(tmp_path):
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    for path, packing in ((one, zipfile.ZIP_STORED), (two, zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(path, "w", packing) as archive:
            for name in ("y.npy", "X.npy") if path == one else ("X.npy", "y.npy"):
                archive.writestr(name, name * 50)
    assert content_sha256(one) == content_sha256(two)
    lines = "".join(f"{sha256((name * 50).encode())}  {name}\n" for name in ("X.npy", "y.npy"))
    assert content_sha256(one) == sha256(lines.encode())


@pytest.mark.parametrize(
    ("content", "step", "expected"),
    [
        (gzip.compress(b"a\n"), Step("unpack", "gz"), b"a\n"),
        (bz2.compress(b"a\n"), Step("unpack", "bz2"), b"a\n"),
        (lzma.compress(b"a\n"), Step("unpack", "xz"), b"a\n"),
        (zipped(b"a\n"), Step("member", "app.csv"), b"a\n"),
        (tarred(b"a\n"), Step("member", "app.csv"), b"a\n"),
        (b'a,b\n1,"x, ""y"""\n\xff,z\n', Step("columns", ("b", "a"), "|"), b'x, "y"|1\nz|\xff\n'),
        (b"a\nb\x0bc\rd\ne", Step("rows", 2), b"a\nb\x0bc\rd\n"),
        (b"a\nb\nc\n", Step("rows", (1, 3)), b"b\nc\n"),
        (b"7, a, b\n8, c\n", Step("after", ", "), b"a, b\nc\n"),
        (b"- 10 a\n- 9 b\n- 10 c\n", Step("sort", 2), b"- 9 b\n- 10 a\n- 10 c\n"),
        (b'a "b", c\nd\n', Step("number", ("id", "text")), b'id,text\n1,"a ""b"", c"\n2,d\n'),
        (b"a\r\nb\rc\n", Step("line_ends", "lf"), b"a\nb\rc\n"),
        (b"a", Step("final_newline", True), b"a\n"),
        (b"a\n", Step("final_newline", True), b"a\n"),
        (b"a\n", Step("final_newline", False), b"a"),
        (b"a\n", Step("gzip", "n"), packed(b"a\n", "n")),
        (b"a\n", Step("gzip", ""), packed(b"a\n", "")),
    ],
)
def test_each_step(content, step, expected):
    assert recipe.follow(content, [step], "app.log") == expected


@pytest.mark.parametrize(
    ("content", "step", "reason"),
    [
        (b"plain", Step("unpack", "gz"), "Not a gzipped file"),
        (zipped(b"a"), Step("member", "other"), "other"),
        (tarred(b"a"), Step("member", "other"), "other"),
        (b"a,b\n1,2\n", Step("columns", ("c",)), "no column c"),
        (b'a\n"1\n2"\n', Step("columns", ("a",)), "row 1 holds a line break"),
        (b"a,b\n1\n", Step("columns", ("b",)), "out of range"),
        (b"a\n", Step("rows", 2), "there are 1 rows"),
        (b"a, b\nc\n", Step("after", ", "), "row 2 has no such text"),
        (b"a x\n", Step("sort", 2), "invalid literal"),
    ],
)
def test_a_step_that_cannot_be_done(content, step, reason):
    text = complaint(recipe.follow, content, [step], "app.log")
    assert f"step 1 ({step.name}) of the recipe of 'app.log'" in text
    assert reason in text


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(recipe, "MAX_BYTES", 1000)
    for content, step in (
        (gzip.compress(b"\0" * 1001), Step("unpack", "gz")),
        (zipped(b"\0" * 1001), Step("member", "app.csv")),
    ):
        assert "more than 1,000 bytes" in complaint(recipe.follow, content, [step], "app.log")
