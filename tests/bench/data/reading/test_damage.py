"""What is read from the cache is what was written: each kind of cached file, damaged in each way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import _sealed
from bench.data.reading import numbers, prepared, raw, words
from bench.data.reading.numbers import open_values
from bench.data.reading.prepared import is_prepared, open_prepared, prepared_folder
from bench.data.reading.raw import open_raw
from bench.data.reading.words import open_words
from bench.errors import BenchError

LINES = "".join(
    f"{'BAD' if i % 7 == 3 else '-'} {100 + i} unit b{i % 9} took {i * 37 % 101}.5 s on disk d{i % 4}\n"
    for i in range(90)
)
LABELS = "id,state\n" + "".join(f"b{i},{'odd' if i % 3 else 'ok'}\n" for i in range(9))
FORM = {
    "header": "^[A-Z-]+ (?P<time>[0-9.]+) (?P<message>.*)$",
    "time": "epoch",
    "session": "b[0-9]+",
    "label": "label-file",
    "label_key": "id",
    "label_value": "state",
    "normal": "ok",
}
ARRAYS = ("message_ids", "labels", "times", "file_starts", "session_lines", "session_codes", "session_labels")
NAMES = {
    **{f"{name}.bin": "the prepared edition app@mine" for name in ARRAYS},
    "messages.arrow": "the prepared edition app@mine",
    "session_ids.arrow": "the prepared edition app@mine",
    "log.json": "the prepared edition app@mine",
    "values-1.bin": "the numbers of app@mine",
    "value-offsets-1.bin": "the numbers of app@mine",
    "values-1.json": "the numbers of app@mine",
    "words-1.arrow": "the words of app@mine",
    "word-ids-1.bin": "the words of app@mine",
    "word-offsets-1.bin": "the words of app@mine",
    "words-1.json": "the words of app@mine",
    "raw-1.arrow": "the lines of app@mine",
    "raw-1.json": "the lines of app@mine",
}


def flipped(content):
    """One bit of a byte in the middle that means something in JSON too."""
    at = next(i for i in range(len(content) // 2, len(content)) if not content[i : i + 1].isspace())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGE = {
    "flipped": flipped,
    "out of range": lambda content: b"\x7f" * len(content),
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
    "empty": lambda content: b"",
    "longer": lambda content: content + b"x" * 8,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def edition(own_system):
    files = {"a.log": LINES.encode(), ("l.csv", "labels"): LABELS.encode()}
    found = own_system(files, format=FORM, parser={"masks": ["[0-9.]+"]})
    return found.resolve("app"), found


def plain(values):
    return [repr(value) for value in values]


def everything(card, found):
    """All that is read of an edition, as it is used, copied."""
    log = open_prepared(card, found)
    parts = {name: plain(getattr(log, name).tolist()) for name in ARRAYS}
    parts |= {name: list(getattr(log, name)) for name in ("messages", "session_ids")}
    parts |= {name: getattr(log, name) for name in ("defects", "notes", "alerts", "is_parsed")}
    values, text = open_values(card, found, log), open_words(card, found, log)
    parts["values"] = [plain(values.values.tolist()), values.offsets.tolist()]
    parts["words"] = [text[line] for line in range(len(log))]
    parts["raw"] = open_raw(card, found, log).to_list()
    return parts


def spoil(path, damage):
    """Damage a file in place; its times of change stay."""
    times, content = path.stat(), damage(path.read_bytes())
    with path.open("r+b") as file:
        file.truncate(len(content))
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_all_kinds_of_files_are_named_here(edition):
    everything(*edition)
    assert {path.name for path in prepared_folder(edition[0]).iterdir()} == set(NAMES)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_changes_no_number(edition, capsys, name, damage):
    before = everything(*edition)
    folder = prepared_folder(edition[0])
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    spoil(folder / name, damage)
    assert (folder / name).read_bytes() != whole[name]
    capsys.readouterr()
    assert everything(*edition) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{NAMES[name]}: damaged in the cache ({name} ")
    assert line.endswith("so it is made anew")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert everything(*edition) == before
    assert capsys.readouterr().err == ""


def test_what_an_earlier_version_kept_is_made_anew_without_a_word(edition, capsys):
    before = everything(*edition)
    folder = prepared_folder(edition[0])
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.bin")}
    (folder / "log.json").write_text(json.dumps({"sizes": sizes, "defects": [], "notes": [], "alerts": []}))
    spoil(folder / "labels.bin", flipped)
    assert not is_prepared(edition[0])
    assert everything(*edition) == before
    assert capsys.readouterr().err == ""


def test_nothing_is_said_of_a_sound_cache_and_it_is_hashed_once_a_process(edition, capsys, monkeypatch):
    everything(*edition)
    monkeypatch.setattr(_sealed, "_SETTLED_NS", 0)
    everything(*edition)
    monkeypatch.setattr(_sealed.hashlib, "file_digest", lambda *given: pytest.fail("hashed again"))
    everything(*edition)
    assert capsys.readouterr().err == ""


# --- Large files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(edition, monkeypatch):
    """An edition whose files all count as large, checked once, in a process that remembers nothing."""
    monkeypatch.setattr(_sealed, "LARGE_BYTES", 16)
    monkeypatch.setattr(_sealed, "_SETTLED_NS", 0)
    before = everything(*edition)
    _sealed._checked.clear()
    return edition, before


def test_a_large_file_is_hashed_again_only_where_it_looks_otherwise(large, monkeypatch):
    edition, before = large
    names, digest = [], _sealed.hashlib.file_digest

    def count(stream, kind):
        names.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(_sealed.hashlib, "file_digest", count)
    assert everything(*edition) == before
    assert set(names) <= {"a.log", "l.csv", "file_starts.bin", "session_labels.bin"}
    names.clear()
    os.utime(prepared_folder(edition[0]) / "times.bin", ns=(1, 1))
    assert everything(*edition) == before
    assert names == ["times.bin"]
    names.clear()
    _sealed._checked.clear()
    assert everything(*edition) == before
    assert "times.bin" not in names


@pytest.mark.parametrize("name", ["labels.bin", "values-1.bin", "raw-1.arrow", "words-1.arrow"])
def test_a_large_file_that_was_edited_in_place_is_found(large, capsys, name):
    edition, before = large
    spoil(prepared_folder(edition[0]) / name, flipped)
    assert everything(*edition) == before
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_damaged_note_of_the_last_check_is_made_anew(large, capsys):
    edition, before = large
    note = prepared_folder(edition[0]) / "log.json.checked"
    spoil(note, flipped)
    assert everything(*edition) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the last check of app-")
    _sealed._checked.clear()
    assert everything(*edition) == before
    assert capsys.readouterr().err == ""


# --- Files that change -----------------------------------------------------------------------------------------------


CHANGED = LINES.replace("BAD", "-", 1)


@pytest.mark.parametrize("name", ["a.log", "l.csv"])
def test_a_file_that_changes_while_it_is_read_is_not_kept(edition, cache, monkeypatch, name):
    card, found = edition
    path, read = found.data_dir / "app" / name, prepared.read

    def change(*given):
        log = read(*given)
        path.write_bytes(path.read_bytes() + b"b1,odd\n")
        return log

    monkeypatch.setattr(prepared, "read", change)
    with pytest.raises(BenchError, match="'app@mine' changed while it was read: run the command again"):
        open_prepared(card, found)
    assert [path.suffix for path in (cache / "prepared").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("module", "name", "opens"),
    [
        (numbers, "values_behind_masks", open_values),
        (words, "read_words", open_words),
        (raw, "read_raw", open_raw),
    ],
)
def test_nor_are_its_numbers_words_and_lines(edition, monkeypatch, module, name, opens):
    card, found = edition
    log, original = open_prepared(card, found), getattr(module, name)
    path, folder = found.data_dir / "app/a.log", prepared_folder(card)
    before = sorted(folder.iterdir())

    def change(*given):
        made = original(*given)
        path.write_text(CHANGED)
        return made

    monkeypatch.setattr(module, name, change)
    with pytest.raises(BenchError, match=r"changed while it was read|wrong checksum"):
        opens(card, found, log)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("name", "other"), [("a.log", CHANGED), ("l.csv", LABELS.replace("odd", "ok", 1))])
def test_what_was_prepared_does_not_answer_for_other_files(edition, name, other):
    card, found = edition
    everything(card, found)
    path = found.data_dir / "app" / name
    whole = path.read_text()
    path.write_text(other)
    with pytest.raises(BenchError, match=f"'app/{name}' has the wrong checksum.*bench data new NAME FILE --force"):
        open_prepared(card, found)
    path.write_text(whole)
    open_prepared(card, found)


# --- Disks that refuse -----------------------------------------------------------------------------------------------

OPENER = """
import resource, sys
from pathlib import Path
from bench.data.cards.catalogue import catalogue
from bench.data.reading.prepared import open_prepared, prepared_folder
from bench.data.reading.{kind} import open_{name}
from bench.errors import BenchError

known = catalogue(Path(sys.argv[1]))
card = known.resolve("app")
log = open_prepared(card, known)
before = sorted(path.name for path in prepared_folder(card).iterdir())
if sys.argv[2] == "limited":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
if sys.argv[2] == "full":
    with Path(sys.argv[3], "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
if sys.argv[2] == "closed":
    import subprocess
    subprocess.run(["mount", "-o", "remount,ro", sys.argv[3]], check=True)
try:
    open_{name}(card, known, log)
except BenchError as error:
    print(error)
assert sorted(path.name for path in prepared_folder(card).iterdir()) == before
print(len(open_prepared(card, known)))
"""
KINDS = [("numbers", "values"), ("words", "words"), ("raw", "raw")]


@pytest.fixture
def many_lines(own_system):
    rows = "".join(f"- {i} took {i * 7919} s of {i * 31} s\n" for i in range(8000))
    form = {"label": "first-token", "header": "^[A-Z-]+ (?P<time>[0-9.]+) (?P<message>.*)$", "time": "epoch"}
    return own_system({"a.log": rows.encode()}, format=form, parser={"masks": ["[0-9]+"]}).data_dir


def check_refused(command):
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    sentence, kept = run.stdout.splitlines()
    assert sentence.startswith("the cache folder ")
    assert "cannot be written (" in sentence
    assert sentence.endswith(": make room, or set BENCH_CACHE to another")
    assert kept == "8000"


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_file_that_may_not_grow_leaves_no_half(many_lines, kind, name):
    script = OPENER.format(kind=kind, name=name)
    check_refused([sys.executable, "-c", script, str(many_lines), "limited"])


@pytest.mark.parametrize("how", ["full", "closed"])
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_full_or_closed_disk_leaves_no_half(many_lines, tmp_path, monkeypatch, kind, name, how):
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("BENCH_CACHE", str(disk / "cache"))
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=1m tmpfs "{disk}" && exec "$@"', "-"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no user mount a small disk; the test of RLIMIT_FSIZE stands for it")
    script = OPENER.format(kind=kind, name=name)
    check_refused([*mounted, sys.executable, "-c", script, str(many_lines), how, str(disk)])
