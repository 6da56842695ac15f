"""Log instructions of source code: which calls count, what their text is, and what becomes of a corpus."""

import pytest

from bench.data.own.instructions import instructions_of, write_corpus
from bench.errors import BenchError

PYTHON = """
import logging
LOG = logging.getLogger(__name__)
LOG.info("opened %s for %(user)s", path)
self._logger.error(f"cannot write {path!r}: {error}")
logging.getLogger("x").debug("took {:.2f} s".format(seconds))
log.critical("first line\\n" + second + " half")
LOG.exception("giving up after %d tries" % n)
LOG.warning("neither harmless nor severe")
LOG.info(message)
LOG.info("ok")
catalog.info
print.error("not a log")
LOG.log(20, "no level")
"""
JAVA = """
LOG.info("Opened {} for {}", path, user);
logger.error("Could not \\"flush\\" block " + id, e);
log().fatal(String.format("no"));
LOG.warn("left out");
"""
GO = """
log.Infof("listening on %s:%d", host, port)
logger.Fatal("cannot bind")
klog.Errorln( "no route")
fmt.Errorf("no log %s", x)
"""
C = """
pr_err("%s: disk failed at %lu\\n", name, sector);
dev_info(&pdev->dev, "probed %#x\\n", id);
printk(KERN_CRIT "temperature too high\\n");
syslog(LOG_ERR, "cannot fork");
log_debug("entering state %-5s", s);
printf("not a log error");
"""


def found(tmp_path, name, source):
    path = tmp_path / name
    path.write_text(source, encoding="utf-8")
    return instructions_of(path)


def test_python_is_read_as_a_syntax_tree(tmp_path):
    assert found(tmp_path, "a.py", PYTHON) == [
        ("info", "opened <*> for <*>"),
        ("error", "cannot write <*>: <*>"),
        ("debug", "took <*> s"),
        ("critical", "first line <*> half"),
        ("exception", "giving up after <*> tries"),
    ]
    assert found(tmp_path, "b.py", "print 'python 2'\nLOG.info('x y z')\n") is None


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("A.java", JAVA, [("info", "Opened <*> for <*>"), ("error", "Could not flush block")]),
        ("a.go", GO, [("info", "listening on <*>:<*>"), ("fatal", "cannot bind"), ("error", "no route")]),
        (
            "a.c",
            C,
            [
                ("err", "<*>: disk failed at <*>"),
                ("info", "probed <*>"),
                ("crit", "temperature too high"),
                ("err", "cannot fork"),
                ("debug", "entering state <*>"),
            ],
        ),
    ],
)
def test_java_go_and_c_are_read_by_patterns(tmp_path, name, source, expected):
    assert found(tmp_path, name, source) == expected


@pytest.fixture
def tree(tmp_path):
    """Source files with one text under both kinds of levels, and one that is no Python."""
    folder = tmp_path / "src"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text(PYTHON)
    (folder / "inner" / "B.java").write_text(JAVA + 'LOG.error("opened %s for %s");\n')
    (folder / "broken.py").write_text("def (:")
    (folder / "notes.txt").write_text('LOG.info("not source")')
    return folder


def test_a_corpus_is_a_log_whose_labels_are_levels(tree, tmp_path):
    made = write_corpus([tree], tmp_path / "out.log")
    lines = (tmp_path / "out.log").read_text().splitlines()
    assert (made.n_files, made.n_broken, made.n_both) == (2, 1, 1)
    assert sorted(lines) == sorted(
        [
            "- Opened <*> for <*>",
            "- took <*> s",
            "CRITICAL first line <*> half",
            "ERROR Could not flush block",
            "ERROR cannot write <*>: <*>",
            "EXCEPTION giving up after <*> tries",
        ]
    )
    assert made.n_severe == 4
    again = write_corpus([tree, tree], tmp_path / "again.log")
    assert (tmp_path / "again.log").read_text().splitlines() == lines
    assert again.levels == made.levels


def test_what_is_no_corpus_is_one_sentence(tree, tmp_path):
    with pytest.raises(BenchError, match="does not exist: give a folder with source code"):
        write_corpus([tmp_path / "nowhere"], tmp_path / "out.log")
    (tree / "a.py").unlink()
    (tree / "inner" / "B.java").write_text('LOG.error("only severe");')
    with pytest.raises(BenchError, match="not both harmless and severe ones: give a folder with more"):
        write_corpus([tree], tmp_path / "out.log")
    assert not (tmp_path / "out.log").exists()


def test_files_made_by_machines_and_links_are_left_out(tree, tmp_path, monkeypatch):
    (tree / "link.py").symlink_to(tree / "a.py")
    (tree / "binary.py").write_bytes(b"\x00\xff LOG.info('x')")
    assert write_corpus([tree], tmp_path / "out.log").n_files == 2
    (tree / "made.py").write_text("# " + "x" * 3_000 + "\nLOG.info('made by a machine')\n")
    monkeypatch.setattr("bench.data.own.instructions._LARGEST", 2_000)
    assert write_corpus([tree], tmp_path / "out.log").n_files == 2
    assert "made by a machine" not in (tmp_path / "out.log").read_text()
