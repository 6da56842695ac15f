"""Files of any packing: the content, whatever the size of a block, or one sentence; never more memory."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zipfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.reading import streams
from bench.data.reading.lines import cut_long
from bench.errors import BenchError

LINES = b"".join(b"%d line %s\n" % (i, b"x" * (i % 37)) for i in range(400))
HALF = LINES.index(b"\n", len(LINES) // 2) + 5
"""In the middle of a line: streams behind each other may be cut anywhere."""


def gz(content):
    return gzip.compress(content, mtime=0)


def zst(content):
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def zipped(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def in_two(pack):
    return pack(LINES[:HALF]) + pack(LINES[HALF:])


SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00note"
PACKED = {
    "plain": ("a.log", LINES),
    "gz": ("a.gz", gz(LINES)),
    "gz, upper case": ("A.LOG.GZ", gz(LINES)),
    "gz, two members": ("a.gz", in_two(gz)),
    "gz, an empty member": ("a.gz", gz(b"") + gz(LINES)),
    "bz2": ("a.bz2", bz2.compress(LINES)),
    "bz2, two streams": ("a.bz2", in_two(bz2.compress)),
    "xz": ("a.xz", lzma.compress(LINES)),
    "xz, two streams": ("a.xz", in_two(lzma.compress)),
    "xz, padded": ("a.xz", lzma.compress(LINES[:HALF]) + bytes(8) + lzma.compress(LINES[HALF:]) + bytes(4)),
    "lzma": ("a.xz", lzma.compress(LINES, lzma.FORMAT_ALONE)),
    "zst": ("a.zst", zst(LINES)),
    "zst, two frames": ("a.zst", in_two(zst)),
    "zst, a skippable frame": ("a.zst", SKIPPABLE + zst(LINES) + SKIPPABLE),
    "zst, an empty frame": ("a.zst", zst(LINES) + zst(b"")),
    "zip": ("a.zip", zipped([("d/", b""), ("d/a.log", LINES)])),
    "zip, stored": ("a.zip", zipped([("a.log", LINES)], zipfile.ZIP_STORED)),
    "zip of bz2": ("a.zip", zipped([("a.log", LINES)], zipfile.ZIP_BZIP2)),
}


@pytest.fixture(params=PACKED)
def packed(request, tmp_path):
    name, content = PACKED[request.param]
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def complaint(path, *arguments):
    """The one sentence of what unpacking this complains about."""
    with pytest.raises(BenchError) as caught:
        list(streams.blocks(path, *arguments))
    assert f"'{path.name}'" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1000, len(LINES) - 1, len(LINES), len(LINES) + 1, 1 << 24])
def test_the_content_is_the_same_whatever_the_block(packed, size):
    blocks = list(streams.blocks(packed, size=size))
    assert b"".join(blocks) == LINES
    assert all(block.endswith(b"\n") for block in blocks)
    assert all(len(block) < size + 80 for block in blocks)


def test_a_small_file_at_once(packed):
    assert streams.content(packed) == LINES


@given(st.lists(st.binary(max_size=6).map(lambda part: part.replace(b"a", b"\n"))))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_parts_are_joined_and_cut_at_newlines_only(parts):
    blocks = list(streams.whole_lines(iter(parts)))
    assert b"".join(blocks) == b"".join(parts)
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert all(blocks)


@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\nb", b"\n\n\nb", b"a\r\nb\r"])
def test_ends_of_files(tmp_path, content):
    for name, pack in (("a", bytes), ("a.gz", gz), ("a.bz2", bz2.compress), ("a.xz", lzma.compress), ("a.zst", zst)):
        (tmp_path / name).write_bytes(pack(content))
        for size in (1, 3, 100):
            blocks = list(streams.blocks(tmp_path / name, size=size))
            assert b"".join(blocks) == content
            assert all(block.endswith(b"\n") for block in blocks[:-1])


# --- Zip files of several members ------------------------------------------------------------------------------------

MEMBERS = [("b/2.log", b"two\n"), ("b/1.log", b"one\n"), ("read.me", b"words\n"), ("b/", b"")]


def test_the_member_that_is_meant(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(MEMBERS))
    assert streams.content(tmp_path / "a.zip", "b/1.log") == b"one\n"
    assert "3 files" in complaint(tmp_path / "a.zip")
    assert "`inside`" in complaint(tmp_path / "a.zip")
    missing = complaint(tmp_path / "a.zip", "b/3.log")
    assert "'b/3.log'" in missing
    assert "b/2.log, b/1.log, read.me" in missing


def test_members_by_pattern_come_in_the_order_of_their_names(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(MEMBERS))
    assert streams.matching(tmp_path / "a.zip", "*.log") == ["b/1.log", "b/2.log"]
    with pytest.raises(BenchError, match=r"'a\.zip' holds no file that matches '\*\.txt'"):
        streams.matching(tmp_path / "a.zip", "*.txt")
    (tmp_path / "a.zip").write_bytes(zipped(MEMBERS)[:-30])
    with pytest.raises(BenchError, match=r"'a\.zip' cannot be unpacked"):
        streams.matching(tmp_path / "a.zip", "*.log")


def test_an_empty_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped([]))
    assert "0 files" in complaint(tmp_path / "a.zip")


def test_a_zip_with_a_password(tmp_path):
    content = bytearray(zipped([("a.log", LINES)]))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "password" in complaint(tmp_path / "a.zip")


END_WITHOUT_LINES = ("plain", "xz, padded", "zst, a skippable frame", "zst, an empty frame")

# --- Damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in PACKED if kind not in END_WITHOUT_LINES])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97, 1])
def test_a_file_that_ends_too_early(tmp_path, kind, share):
    name, content = PACKED[kind]
    (tmp_path / name).write_bytes(content[: min(int(len(content) * share), len(content) - 1)])
    assert "damaged" in complaint(tmp_path / name)


@pytest.mark.parametrize(("name", "pack"), [("a.gz", gz), ("a.bz2", bz2.compress), ("a.xz", lzma.compress)])
def test_what_follows_a_stream_and_is_none(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(LINES) + b"rubbish of some length")
    assert "damaged" in complaint(tmp_path / name)
    second = bytearray(pack(LINES[HALF:]))
    second[0] ^= 0xFF
    (tmp_path / name).write_bytes(pack(LINES[:HALF]) + second)
    assert "damaged" in complaint(tmp_path / name)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zip"])
def test_a_changed_byte_is_noticed(tmp_path, kind):
    name, content = PACKED[kind]
    middle = content.index(b"PK\x01\x02") // 2 if kind == "zip" else len(content) // 2
    for place in range(middle, middle + 20):
        (tmp_path / name).write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        assert "damaged" in complaint(tmp_path / name)


@pytest.mark.parametrize("name", ["a.gz", "a.bz2", "a.xz", "a.zst", "a.zip"])
def test_another_kind_of_file(tmp_path, name):
    (tmp_path / name).write_bytes(LINES)
    assert "damaged" in complaint(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    for name in ("a.log", "a.gz", "a.bz2", "a.xz", "a.zst", "a.zip"):
        assert "No such file" in complaint(tmp_path / name)


PACKS = {".gz": gz, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zst, ".zip": lambda c: zipped([("a", c)])}


@pytest.mark.parametrize("ending", PACKS)
def test_a_packed_file_whose_name_does_not_say_so(tmp_path, ending):
    (tmp_path / "a.log").write_bytes(PACKS[ending](LINES))
    assert f"rename it to 'a.log{ending}'" in complaint(tmp_path / "a.log")


@given(st.data(), st.sampled_from(sorted(PACKS)), st.binary(max_size=200))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, ending, content):
    packed = bytearray(PACKS[ending](content))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        packed = packed or bytearray(b"-")
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(packed)
    try:
        found = b"".join(streams.blocks(path, size=50))
    except BenchError as error:
        assert path.name in str(error)
    else:
        assert isinstance(found, bytes)


# --- Long lines ------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Lines longer than 8 bytes are cut."""
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 8)


@pytest.mark.usefixtures("short")
def test_long_lines_are_cut_and_told():
    content, long = cut_long(b"12345678\n123456789\n\n1234567\nabcdefghijklmnopq\n12345678")
    assert content == b"12345678\n12345678\n\n1234567\nabcdefgh\n12345678"
    assert long.tolist() == [1, 4]
    assert cut_long(b"123456789")[0] == b"12345678"
    assert cut_long(b"12345678") == (b"12345678", pytest.approx([]))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("1234567é", "1234567"),
        ("123456é9", "123456é"),
        ("12345€9", "12345€"),
        ("12345🙂", "12345"),
        ("1234🙂9", "1234🙂"),
    ],
)
def test_no_character_is_cut_through(line, kept):
    assert cut_long(line.encode())[0].decode() == kept


@pytest.mark.usefixtures("short")
def test_bytes_that_are_no_utf8_are_cut_too():
    assert cut_long(b"\x80" * 12)[0] == b"\x80" * 8


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 40))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_cut_line_is_the_same_whatever_the_block(lines, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MAX_LINE_BYTES", 8)
        content = b"\n".join(lines)
        whole = cut_long(content)[0]
        parts = (content[i : i + size] for i in range(0, len(content), size))
        assert b"".join(cut_long(block)[0] for block in streams.whole_lines(parts)) == whole
        assert all(len(line) <= 8 for line in whole.split(b"\n"))
        assert whole.count(b"\n") == content.count(b"\n")


GIANT = """
import bz2, gzip, lzma, sys, zstandard
from pathlib import Path
from bench.data.cards.card import Card, DataFile
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.read import read

folder = Path(sys.argv[1])
line, block = b"first one\\n", b"word 17 " * (1 << 17)
stream = {
    "": lambda path: path.open("wb"),
    ".gz": lambda path: gzip.open(path, "wb", 1),
    ".zst": lambda path: zstandard.open(path, "wb"),
    ".bz2": lambda path: bz2.open(path, "wb"),
}
path = folder / f"giant.log{sys.argv[2]}"
with stream[sys.argv[2]](path) as file:
    file.write(line)
    for _ in range(100):
        file.write(block if sys.argv[2] != ".bz2" else bytes(len(block)))
    file.write(b"\\nlast one\\n")
card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody", files=(DataFile(path.name, "0" * 64),))
Catalogue.path = lambda self, file: folder / file.name
log = read(card, Catalogue((card,), folder))
print(len(log), len(log.messages[1]), *(f"{d.kind}:{d.count}:{d.first_line}" for d in log.defects))
print(next(int(row.split()[1]) for row in open("/proc/self/status") if row.startswith("VmHWM")) // 1024)
"""


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2"])
def test_a_line_of_100_mb_needs_little_memory(tmp_path, ending):
    """The second line is cut at 1 MiB; the peak is the process's own, in KiB."""
    run = subprocess.run(
        [sys.executable, "-c", GIANT, tmp_path, ending], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    facts, peak = run.stdout.splitlines()
    nul = " nul:1:2" if ending == ".bz2" else ""
    assert facts == f"3 {1 << 20} cut:1:2{nul}"
    assert int(peak) < 400
