"""Fetching, against a real server on 127.0.0.1: it either leaves the very files of the card, or one sentence."""

import errno
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.cards.fetched import note_path, read_note
from bench.data.fetching.fetch import downloadable, fetch, is_intact
from bench.data.fetching.http import Patience
from bench.data.reading.read import read
from bench.errors import BenchError

HASTY = Patience(stall_s=0.3, attempts=3, pause_s=0.01, longest_pause_s=0.05)
BOMB = b"\0" * 3_000_000


def load(data, key="app", **options):
    known = catalogue(data)
    return fetch(downloadable(known, key), known, patience=HASTY, **options)


def complaint(call, *arguments, **options):
    with pytest.raises(BenchError) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert ":" in text, "the way out stands behind a colon"
    return text


def left(data):
    """Everything below the data folder but the cards."""
    return sorted(
        path.relative_to(data).as_posix() for path in data.rglob("*") if path.suffix != ".toml" and path.is_file()
    )


DONE = ["app/app.log", "app/app.log.fetched.json"]


@pytest.fixture
def content(web):
    """What the served archive holds."""

    def of(path="/app.zip", member="app.log"):
        return zipfile.ZipFile(io.BytesIO(web.files[path])).read(member)

    return of


def test_fetched_files_are_those_of_the_archive(web, offered, content):
    data = offered()
    fetched = load(data)
    assert left(data) == DONE
    assert (data / "app/app.log").read_bytes() == content()
    digest = hashlib.sha256(content()).hexdigest()
    assert fetched.files == ({"name": "app/app.log", "role": "log", "sha256": digest, "bytes": len(content())},)
    assert not fetched.was_there
    assert web.ranges() == [None]
    known = catalogue(data)
    assert len(read(known.resolve("app"), known)) == 1500


def test_what_is_there_and_intact_is_not_loaded_again(web, offered):
    data = offered()
    load(data)
    again = load(data)
    assert again.was_there
    assert again.files[0]["bytes"] > 0
    assert len(web.requests) == 1


def test_the_note_says_where_a_file_came_from(web, offered):
    data = offered()
    load(data)
    note = json.loads((data / "app/app.log.fetched.json").read_text())
    stat = (data / "app/app.log").stat()
    assert note == {
        "sha256": hashlib.sha256((data / "app/app.log").read_bytes()).hexdigest(),
        "size": stat.st_size,
        "state": [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns],
        "archive": f"md5:{hashlib.md5(web.files['/app.zip']).hexdigest()}",
        "member": "app.log",
    }


def test_sha256_and_size_of_an_archive(web, offered):
    data = offered()
    archive = web.files["/app.zip"]
    offered(sha256=hashlib.sha256(archive).hexdigest(), bytes=len(archive))
    assert not load(data).was_there
    card = catalogue(data).resolve("app")
    assert card.digests() == {"app/app.log": f"sha256:{hashlib.sha256(archive).hexdigest()}/app.log"}


@pytest.mark.parametrize(
    ("first", "resumes"),
    [
        ({"cut": 50_000}, True),
        ({"cut": 50_000, "etag": 'W/"weak"'}, False),
        ({"cut": 50_000, "ranges": False}, True),
        ({"cut": 0}, False),
        ({"cut": 50_000, "stalls": True}, True),
    ],
    ids=["cut", "weak etag", "no ranges", "nothing came", "stall"],
)
def test_a_cut_connection_is_resumed(web, offered, content, first, resumes):
    data = offered()
    web.script["/app.zip"] = [first, {"ranges": first.get("ranges", True)}]
    load(data)
    assert (data / "app/app.log").read_bytes() == content()
    assert left(data) == DONE
    assert len(web.requests) == 2 + (first.get("etag") is not None)
    if resumes:
        assert web.ranges()[1] == "bytes=50000-"
        validator = web.requests[1][1].get("If-Range")
        assert validator == ('"v1"' if first.get("ranges", True) else None)


def test_many_cuts(web, offered, content):
    data = offered()
    web.script["/app.zip"] = [{"cut": 40_000}, {"cut": 40_000}]
    load(data)
    assert (data / "app/app.log").read_bytes() == content()
    assert web.ranges() == [None, "bytes=40000-", "bytes=80000-"]


def test_a_server_that_always_cuts_is_given_up_and_the_part_kept(web, offered, content):
    data = offered()
    web.script["/app.zip"] = [{"cut": 20_000}, {"cut": 0}, {"cut": 0}]
    text = complaint(load, data)
    assert "3 attempts" in text
    assert "20,000 bytes are kept" in text
    assert (data / "app/app.zip.part").stat().st_size == 20_000
    load(data)
    assert web.ranges()[-1] == "bytes=20000-"
    assert (data / "app/app.log").read_bytes() == content()
    assert left(data) == DONE


def test_a_stalling_server_is_given_up(web, offered):
    data = offered()
    web.always["/app.zip"] = {"cut": 10, "stalls": True}
    assert "no answer in time" in complaint(load, data)


def test_a_server_that_is_not_there(web, offered):
    web.server.shutdown()
    web.server.server_close()
    assert "refused" in complaint(load, offered())


@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range obeyed", "If-Range ignored"])
def test_a_file_that_changes_between_two_attempts(web, offered, content, obeys):
    data = offered()
    web.script["/app.zip"] = [{"cut": 30_000, "etag": '"old"'}]
    web.always["/app.zip"] = {"etag": '"new"', "obeys_if_range": obeys}
    load(data)
    assert (data / "app/app.log").read_bytes() == content()
    assert web.ranges() == ([None, "bytes=30000-"] if obeys else [None, "bytes=30000-", None])


def test_a_file_that_became_shorter(web, offered, content):
    data = offered()
    (data / "app/app.zip.part").write_bytes(b"x" * 500_000)
    note = {"url": f"{web.url}/app.zip", "etag": '"v1"', "modified": "", "total": 600_000}
    (data / "app/app.zip.part.json").write_text(json.dumps(note))
    load(data)
    assert web.ranges() == ["bytes=500000-", None]
    assert (data / "app/app.log").read_bytes() == content()


@pytest.mark.parametrize("note", [None, "{", '{"url": "http://127.0.0.1/other.zip"}', '{"colour": 1}', "[]"])
def test_a_part_of_unknown_origin_is_not_gone_on_with(web, offered, content, note):
    data = offered()
    (data / "app/app.zip.part").write_bytes(b"x" * 500)
    if note is not None:
        (data / "app/app.zip.part.json").write_text(note)
    load(data)
    assert web.ranges() == [None]
    assert (data / "app/app.log").read_bytes() == content()


def test_a_part_that_is_complete_needs_no_request(web, offered):
    data = offered()
    archive = web.files["/app.zip"]
    (data / "app/app.zip.part").write_bytes(archive)
    (data / "app/app.zip.part.json").write_text(json.dumps({"url": f"{web.url}/app.zip", "total": len(archive)}))
    load(data)
    assert web.requests == []
    assert left(data) == DONE


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-9/10",
        "bytes 50001-60000/60001",
        "bytes 50000-49999/60000",
        "50000",
        "bytes 50000-50001/9",
        "bytes */9",
        "bytes 50001-{last}/{size}",
        "bytes 50000-{size}/{more}",
    ],
)
def test_a_wrong_content_range_is_refused(web, offered, content, content_range):
    data = offered()
    size = len(web.files["/app.zip"])
    content_range = content_range.format(last=size - 1, size=size, more=size + 1)
    web.script["/app.zip"] = [{"cut": 50_000}, {"content_range": content_range}]
    text = complaint(load, data)
    assert "bytes 50000-" in text
    assert content_range in text
    assert left(data) == []
    load(data)
    assert (data / "app/app.log").read_bytes() == content()


def test_a_range_nobody_asked_for_is_refused(web, offered):
    data = offered()
    web.script["/app.zip"] = [{"status": 206, "headers": {"Content-Range": "bytes 0-9/10"}}]
    assert "bytes 0-9/10" in complaint(load, data)


def test_more_announced_than_sent(web, offered):
    data = offered()
    web.always["/app.zip"] = {"announce": 10, "ranges": False}
    size = len(web.files["/app.zip"])
    assert f"{size:,} of {size + 10:,} announced bytes" in complaint(load, data)


def test_less_announced_than_sent(web, offered):
    data = offered()
    web.always["/app.zip"] = {"announce": -10}
    assert "wrong checksum" in complaint(load, data)
    assert left(data) == []


@pytest.mark.parametrize("announce", [10, -10])
def test_another_size_announced_than_the_card_says(web, offered, announce):
    size = len(web.files["/app.zip"]) if web.files else len(offered() and web.files["/app.zip"])
    data = offered(bytes=size)
    web.always["/app.zip"] = {"announce": announce}
    text = complaint(load, data)
    assert f"announces {size + announce:,} bytes" in text
    assert f"{size:,}" in text
    assert left(data) == []


@pytest.mark.parametrize("has_length", [True, False])
def test_a_file_without_end_is_given_up_at_the_limit(web, offered, has_length):
    data = offered(max_bytes=100)
    web.files["/app.zip"] = b"x" * (5 << 20)
    web.always["/app.zip"] = {"has_length": has_length}
    loaded = [0]
    text = complaint(load, data, report=lambda what, done, total: loaded.append(done))
    assert "at most 1,048,676 were expected" in text
    assert left(data) == []
    assert max(loaded) <= 1_048_676


def test_no_length_at_all(web, offered, content):
    data = offered()
    web.always["/app.zip"] = {"has_length": False}
    load(data)
    assert (data / "app/app.log").read_bytes() == content()


def test_wrong_bytes_are_deleted(web, offered):
    data = offered()
    web.files["/app.zip"] = bytes(reversed(web.files["/app.zip"]))
    text = complaint(load, data)
    assert "wrong checksum" in text
    assert "deleted" in text
    assert left(data) == []
    assert len(web.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_worth_a_retry(web, offered, status):
    data = offered()
    web.script["/app.zip"] = [{"status": status, "headers": {"Retry-After": "3600"}}, {"status": status}]
    assert not load(data).was_there
    assert len(web.requests) == 3


def test_a_server_that_stays_broken(web, offered):
    web.always["/app.zip"] = {"status": 503}
    data = offered()
    assert "HTTP 503" in complaint(load, data)
    assert len(web.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_answer_that_is_final(web, offered, status):
    web.always["/app.zip"] = {"status": status}
    data = offered()
    assert f"HTTP {status}" in complaint(load, data)
    assert len(web.requests) == 1
    assert left(data) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_its_range(web, offered, content, status):
    data = offered()
    web.files["/real"] = web.files["/app.zip"]
    web.always["/app.zip"] = {"status": status, "headers": {"Location": "/real"}}
    web.script["/real"] = [{"cut": 50_000}]
    load(data)
    assert web.ranges() == [None, None, "bytes=50000-", "bytes=50000-"]
    assert (data / "app/app.log").read_bytes() == content()


def test_redirects_without_end(web, offered):
    web.always["/app.zip"] = {"status": 302, "headers": {"Location": "/b"}}
    web.always["/b"] = {"status": 302, "headers": {"Location": "/app.zip"}}
    assert "redirects more than 5 times" in complaint(load, offered())
    assert len(web.requests) <= 7


def test_a_long_chain_of_redirects(web, offered):
    data = offered()
    web.always["/app.zip"] = {"status": 302, "headers": {"Location": "/1"}}
    web.always |= {f"/{i}": {"status": 302, "headers": {"Location": f"/{i + 1}"}} for i in range(1, 20)}
    assert "redirects" in complaint(load, data)
    assert len(web.requests) <= 7


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "gopher://127.0.0.1/"])
def test_a_redirect_out_of_http_is_refused(web, offered, target):
    web.always["/app.zip"] = {"status": 302, "headers": {"Location": target}}
    data = offered()
    assert "redirects" in complaint(load, data)
    assert left(data) == []


def test_a_proxy_of_the_environment_is_used(web, offered, monkeypatch, content):
    monkeypatch.setenv("http_proxy", web.url)
    data = offered(url="http://logs.invalid/app.zip")
    load(data)
    assert [path for path, _ in web.requests] == ["http://logs.invalid/app.zip"]
    assert (data / "app/app.log").read_bytes() == content()


def test_offline_is_refused_before_any_connection(web, offered, monkeypatch):
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    data = offered()
    text = complaint(load, data)
    assert "BENCH_OFFLINE" in text
    assert "app.zip" in text
    assert web.requests == []
    monkeypatch.setenv("BENCH_OFFLINE", "0")
    assert not load(data).was_there


def test_an_archive_put_there_by_hand_is_used_offline(web, offered, monkeypatch, content):
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    data = offered()
    (data / "app/app.zip").write_bytes(web.files["/app.zip"])
    load(data)
    assert web.requests == []
    assert (data / "app/app.log").read_bytes() == content()


def test_a_wrong_archive_put_there_by_hand_is_not_deleted(web, offered):
    data = offered()
    (data / "app/app.zip").write_bytes(b"mine")
    assert "wrong checksum" in complaint(load, data)
    assert left(data) == ["app/app.zip"]
    assert web.requests == []


def test_a_second_fetch_into_the_same_folder_is_kept_out(web, offered):
    data = offered()
    web.script["/app.zip"] = [{"cut": 1000, "stalls": True}]
    known = catalogue(data)
    first = threading.Thread(target=lambda: fetch(known.find("app@full"), known, patience=Patience(stall_s=3)))
    first.start()
    while not web.requests:
        time.sleep(0.01)
    assert "another process" in complaint(load, data)
    web.closing.set()
    first.join()
    assert load(data).was_there


def test_progress_is_reported_in_bytes(web, offered):
    seen = []
    load(offered(), report=lambda *step: seen.append(step))
    size = len(web.files["/app.zip"])
    assert ("download", size, size) in seen
    assert [what for what, _, _ in seen] == sorted(
        (what for what, _, _ in seen), key=["download", "verify", "unpack app.log"].index
    )


def zip_with(*entries, method=zipfile.ZIP_DEFLATED):
    """A zip of (name, content, mode)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


def tar_with(*entries):
    """A tar.gz of (name, content, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = "../../evil" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


GOOD = ("app.log", b"- one\nBAD two\n", 0o100644)
GOOD_TAR = (*GOOD[:2], tarfile.REGTYPE)


@pytest.mark.parametrize("name", ["../evil", "../../evil", "/tmp/bench-evil", "app/../../evil", "C:\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_that_the_card_does_not_name_are_never_written(offered, tmp_path, name, kind):
    archive = zip_with((name, b"x", 0), GOOD) if kind == "zip" else tar_with((name, b"x", tarfile.REGTYPE), GOOD_TAR)
    data = offered(archive, name=f"app.{kind}")
    load(data)
    assert left(data) == DONE
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    assert not Path("/tmp/bench-evil").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_with_an_evil_name_goes_where_the_card_says(offered, tmp_path, kind):
    name = "../evil"
    archive = zip_with((name, b"- a\n", 0)) if kind == "zip" else tar_with((name, b"- a\n", tarfile.REGTYPE))
    data = offered(archive, name=f"app.{kind}", files={name: "app/app.log"})
    load(data)
    assert (data / "app/app.log").read_bytes() == b"- a\n"
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("kind", "archive"),
    [
        ("zip", zip_with(("app.log", b"../../evil", 0o120777))),
        ("zip", zip_with(("app.log", b"", 0o020666))),
        *(
            ("tar.gz", tar_with(("app.log", b"", special)))
            for special in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
        ),
    ],
)
def test_links_and_devices_are_refused(offered, kind, archive):
    data = offered(archive, name=f"app.{kind}")
    assert "no plain file" in complaint(load, data)
    assert left(data) == [f"app/app.{kind}"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused(offered, kind):
    archive = zip_with(("app.log", BOMB, 0)) if kind == "zip" else tar_with(("app.log", BOMB, tarfile.REGTYPE))
    assert len(archive) < 10_000
    data = offered(archive, name=f"app.{kind}")
    text = complaint(load, data)
    assert "3,000,000 bytes" in text
    assert "1,000,000" in text
    assert left(data) == [f"app/app.{kind}"]


def test_a_bomb_that_lies_about_its_size_is_refused(offered):
    archive = zip_with(("app.log", BOMB, 0))
    true, lie = len(BOMB).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    data = offered(archive.replace(true, lie))
    assert "cannot be unpacked" in complaint(load, data)
    assert left(data) == ["app/app.zip"]


def test_a_member_that_stands_there_twice_is_refused(offered):
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = zip_with(GOOD, GOOD)
    assert "twice" in complaint(load, offered(archive))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_that_is_not_there(web, offered, kind):
    entry = ("other.log", b"x", 0) if kind == "zip" else ("other.log", b"x", tarfile.REGTYPE)
    data = offered(zip_with(entry) if kind == "zip" else tar_with(entry), name=f"app.{kind}")
    assert "holds no 'app.log'" in complaint(load, data)
    # The archive is right, so a corrected card does not load it again.
    assert left(data) == [f"app/app.{kind}"]
    offered(web.files[f"/app.{kind}"], name=f"app.{kind}", files={"other.log": "app/app.log"})
    load(data)
    assert len(web.requests) == 1
    assert (data / "app/app.log").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_two_members(offered, kind):
    entries = [("./a/app.log", b"- one\n"), ("labels.csv", b"id,label\n"), ("readme", b"")]
    if kind == "zip":
        archive = zip_with(*((name, content, 0) for name, content in entries))
    else:
        archive = tar_with(*((name, content, tarfile.REGTYPE) for name, content in entries))
    data = offered(archive, name=f"app.{kind}", files={"a/app.log": "app/app.log", "labels.csv": "app/deep/labels.csv"})
    fetched = load(data)
    assert left(data) == sorted([*DONE, "app/deep/labels.csv", "app/deep/labels.csv.fetched.json"])
    assert [(file["name"], file["role"]) for file in fetched.files] == [
        ("app/app.log", "log"),
        ("app/deep/labels.csv", "labels"),
    ]
    (data / "app/deep/labels.csv").unlink()
    assert not is_intact(catalogue(data).find("app@full"), catalogue(data))
    assert not load(data).was_there


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_damaged_archive_with_the_right_checksum(offered, kind):
    whole = zip_with(GOOD) if kind == "zip" else tar_with(("app.log", os.urandom(50_000), tarfile.REGTYPE))
    data = offered(whole[: len(whole) // 2], name=f"app.{kind}")
    assert "cannot be unpacked" in complaint(load, data)
    assert left(data) == [f"app/app.{kind}"]


def test_a_fetched_file_is_hashed_only_after_a_copy_or_when_asked(offered, monkeypatch):
    data = offered()
    load(data)
    known, calls = catalogue(data), []
    file = known.resolve("app").files[0]
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: calls.append(1) or digest(*given))
    assert known.path(file) == data / "app/app.log"
    assert calls == []
    known.path(file, thorough=True)
    assert len(calls) == 1
    os.utime(data / "app/app.log", ns=(1, 1))
    known.path(file)
    known.path(file)
    assert len(calls) == 2, "the note takes on the new time"
    assert read_note(data / "app/app.log").state[2] == 1


def test_a_fetched_file_that_was_edited_in_place_is_found(offered):
    data = offered()
    load(data)
    path = data / "app/app.log"
    times = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    known = catalogue(data)
    assert "wrong checksum" in complaint(known.path, known.resolve("app").files[0])


def test_a_note_of_an_earlier_version_is_taken_and_completed(offered):
    data = offered()
    load(data)
    path, known = data / "app/app.log", catalogue(data)
    note = json.loads(note_path(path).read_text())
    old = {key: value for key, value in note.items() if key != "state"} | {"mtime_ns": path.stat().st_mtime_ns}
    note_path(path).write_text(json.dumps(old))
    assert known.path(known.resolve("app").files[0]) == path
    assert json.loads(note_path(path).read_text()) == note


def spoil_size(path):
    path.write_bytes(path.read_bytes() + b"x")


def spoil_content(path):
    content = path.read_bytes()
    path.write_bytes(b"?" + content[1:])
    os.utime(path, ns=(1, 1))


def spoil_note(path):
    note_path(path).write_text("{")


def spoil_archive(path):
    note_path(path).write_text(note_path(path).read_text().replace("md5:", "md5:0"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_size, "bytes"),
        (spoil_content, "wrong checksum"),
        (spoil_note, "no readable note"),
        (spoil_archive, "the card says app.log of md5:"),
    ],
)
def test_a_fetched_file_that_changed_is_refused_and_fetched_again(web, offered, content, spoil, expected):
    data = offered()
    load(data)
    known = catalogue(data)
    spoil(data / "app/app.log")
    assert expected in complaint(known.path, known.resolve("app").files[0])
    assert not load(data).was_there
    assert (data / "app/app.log").read_bytes() == content()
    assert len(web.requests) == 2


def test_a_file_never_stands_beside_the_note_of_another(offered, monkeypatch):
    data = offered()
    load(data)
    spoil_size(data / "app/app.log")

    def full(path, note):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.data.fetching.fetch.write_note", full)
    assert "no room for 'app.log'" in complaint(load, data)
    assert not note_path(data / "app/app.log").exists()
    assert not catalogue(data).is_available(catalogue(data).find("app@full"))


def test_a_file_without_a_note_is_not_available(offered):
    data = offered()
    (data / "app/app.log").write_bytes(b"- one\n")
    known = catalogue(data)
    assert not known.is_available(known.find("app@full"))
    assert "bench data fetch app@full" in complaint(known.resolve, "app@full")


def test_the_edition_with_a_download_is_taken():
    known = catalogue()
    assert {name: downloadable(known, name).key for name in ("bgl", "hdfs", "thunderbird")} == {
        "bgl": "bgl@full",
        "hdfs": "hdfs@full",
        "thunderbird": "tbird@full",
    }
    assert "these can be: bgl@full, bgl@raw12k" in complaint(downloadable, known, "bgl@stream-a")
    assert "'liberty'" in complaint(downloadable, known, "liberty")
    assert "unknown data set" in complaint(downloadable, known, "bgk")
    assert "unknown edition" in complaint(downloadable, known, "bgl@fll")
    assert "BENCH_DATA" in complaint(fetch, known.find("bgl@full"), known)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": "ftp://127.0.0.1/app.zip"}, "http or https"),
        ({"url": "http:///app.zip"}, "http or https"),
        ({"url": "http://127.0.0.1/app.rar"}, ".zip, .tar.gz"),
        ({"md5": "ab"}, "32 hex digits"),
        ({"sha256": "Z" * 64}, "64 hex digits"),
        ({"md5": "0" * 32, "sha256": "0" * 64}, "2 checksums"),
        ({"md5": None}, "0 checksums"),
        ({"bytes": -1}, "bytes = -1"),
        ({"colour": 1}, "colour"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"files": {"app.log": "../app.log"}}, "inside the data folder"),
        ({"files": {"app.log": "/app.log"}}, "inside the data folder"),
        ({"files": {"": "app/app.log"}}, "member"),
    ],
)
def test_mistakes_in_a_download(offered, fields, expected):
    text = complaint(catalogue, offered(**fields))
    assert "full.toml" in text
    assert expected in text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[[files]]", '[[files]]\narchive = "md5:0"', "archive"),
        ("[[files]]", f'[[files]]\nsha256 = "{"0" * 64}"', "both"),
        ("[download]", "[simulate]", "no [download]"),
        ('member = "app.log"', "", "member"),
    ],
)
def test_mistakes_in_a_fetched_file(offered, old, new, expected):
    data = offered()
    card = data / "app/full.toml"
    card.write_text(card.read_text().replace(old, new, 1))
    text = complaint(catalogue, data)
    assert "full.toml" in text
    assert expected in text


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_any_size_is_refused_before_it_is_read(offered, kind):
    header = tarfile.TarInfo("headers")
    header.type, header.size = kind, 300_000_000
    body = gzip.compress(header.tobuf() + b"1" * header.size, 1)
    data = offered(body, name="app.tar.gz")
    tracemalloc.start()
    assert "a header of 300,000,000 bytes" in complaint(load, data)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert not list(data.rglob("*.unpacking"))


def test_members_without_number_are_refused(offered, monkeypatch):
    monkeypatch.setattr("bench.data.fetching.archives._MAX_MEMBERS", 50)
    one = tarfile.TarInfo("x").tobuf()
    assert "more than 50 members" in complaint(load, offered(gzip.compress(one * 60), name="app.tar.gz"))


NO_ROOM = """
import resource, sys
from pathlib import Path
from bench.data.cards.catalogue import catalogue
from bench.data.fetching import fetch, http
known = catalogue(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
fetch.fetch(fetch.downloadable(known, "app"), known)
"""


@pytest.mark.parametrize("room", [0, 20, 1000])
def test_without_room_no_note_is_left_half_written(web, offered, room):
    """A limit of the size of files stands for the end of the disk."""
    data = offered()
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(data), str(room)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "BenchError: no room for" in done.stderr
    left_over = {path.name for path in (data / "app").iterdir()} - {"_system.toml", "full.toml"}
    assert left_over <= {"app.zip.part", "app.zip.part.json"}
    note = data / "app" / "app.zip.part.json"
    assert not note.exists() or json.loads(note.read_text())["url"]


@pytest.mark.parametrize("name", ["../a.log", "/etc/hostname", "app/../../a.log", "c:a.log", ""])
def test_a_file_that_is_not_fetched_lies_in_the_data_folder_too(own_system, name):
    data = own_system({"a.log": b"one\n"}).data_dir
    card = data / "app" / "mine.toml"
    card.write_text(card.read_text().replace('"app/a.log"', f'"{name}"'))
    text = complaint(catalogue, data)
    assert "inside the data folder" in text
    assert "SHA-256" not in text
