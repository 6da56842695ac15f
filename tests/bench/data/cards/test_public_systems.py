"""Hadoop, OpenStack, Liberty and Spirit: the shipped cards read files laid out as the public ones (invented lines)."""

import datetime
import gzip
import io
import sys
import tarfile
import zipfile

import pytest

from bench.cli import main
from bench.data.cards.catalogue import catalogue
from bench.data.reading.prepared import open_prepared
from bench.data.reading.read import read
from bench.errors import BenchError

DAY = datetime.datetime(2015, 10, 17, 15, 37, 56, tzinfo=datetime.UTC)
KINDS = ("Normal", "Machine down", "Network disconnection", "Disk full")
TRACE = ["java.io.IOException: kettle is empty", "\tat org.tea.Kettle.pour(Kettle.java:71)", "\t... 12 more"]


def job(number):
    return f"application_1445000000000_{number:04}"


def container(number, part, kind):
    """Lines of a container: an abnormal one fails with a trace."""
    lines = []
    for i in range(6 + part):
        time = (DAY + datetime.timedelta(seconds=600 * number + 60 * part + i)).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(
            f"{time},{i:03} INFO [IPC Server handler {i} on 62270] org.tea.Cup$Lid: Poured cup task_1445_{number}_{i}"
        )
    if kind != "Normal":
        lines += [f"{time},999 ERROR [Thread[pot-1,5,main]] org.tea.Kettle: Failed: {kind}", *TRACE]
    return "\r\n".join(lines) + "\r\n"


@pytest.fixture
def hadoop(tmp_path):
    """Write a Hadoop.zip of `n` jobs, every third normal; returns the data folder and the number of lines."""

    def make(n=30, prefix="", listed=None, extra=()):
        kinds = {job(i): KINDS[0] if i % 3 == 0 else KINDS[1 + i % 3] for i in range(n)}
        labels = "## TeaCount\n"
        for kind in KINDS:
            labels += f"### {kind}:\n" + "".join(f"+ {name}\n" for name, own in kinds.items() if own == kind)
        n_lines = 0
        (tmp_path / "hadoop").mkdir()
        with zipfile.ZipFile(tmp_path / "hadoop/Hadoop.zip", "w") as archive:
            archive.writestr(f"{prefix}abnormal_label.txt", labels if listed is None else listed)
            archive.writestr(f"{prefix}README.md", "not a log\n")
            for i, (name, kind) in enumerate(kinds.items()):
                for part in range(2):
                    text = container(i, part, kind)
                    n_lines += text.count("\n")
                    archive.writestr(f"{prefix}{name}/container_1445000000000_{i:04}_01_{part:06}.log", text)
            for name, text in extra:
                archive.writestr(name, text)
        return tmp_path, n_lines

    return make


@pytest.mark.parametrize("prefix", ["", "Hadoop/"])
def test_hadoop(hadoop, prefix):
    data, n_lines = hadoop(n=6, prefix=prefix)
    found = catalogue(data)
    card = found.resolve("hadoop")
    log = read(card, found)
    assert (len(log), len(log.file_starts)) == (n_lines, 12)
    assert list(log.session_ids) == [job(i) for i in range(6)]
    assert log.session_labels.tolist() == [0, 1, 1, 0, 1, 1]
    assert dict(log.alerts) == {"Disk full": 2, "Network disconnection": 2}
    # Each line belongs to the job whose folder it stands in.
    assert log.session_lines.tolist() == list(range(n_lines))
    assert (log.session_codes[1:] >= log.session_codes[:-1]).all()
    assert log.times[0] == DAY.timestamp()
    assert log.messages[log.message_ids[0]] == "Poured cup <*>"
    assert any("6 sessions continue in a later file" in note for note in log.notes)
    assert not any("has no label" in note or "not in the log" in note for note in log.notes)


def test_traces_of_hadoop_are_kept_and_within_the_tolerance(hadoop):
    data, _ = hadoop(n=6)
    found = catalogue(data)
    card = found.resolve("hadoop")
    log = open_prepared(card, found)
    assert log.n_headerless == 8 * len(TRACE)
    assert 0.01 < log.defective_share < card.tolerance
    assert TRACE[0] in list(log.messages)


def test_the_checksum_found_is_the_identity_of_hadoop(hadoop):
    data, _ = hadoop(n=6)
    before = catalogue(data).resolve("hadoop").digests()
    assert list(before) == ["hadoop/Hadoop.zip/*application_*/container_*.log", "hadoop/Hadoop.zip/*abnormal_label.txt"]
    with zipfile.ZipFile(data / "hadoop/Hadoop.zip", "a") as archive:
        archive.writestr("more.txt", "x")
    after = catalogue(data).resolve("hadoop").digests()
    assert before != after
    assert all(digest.partition("/")[0].isalnum() for digest in (*before.values(), *after.values()))


def test_two_label_files_in_the_archive(hadoop):
    data, _ = hadoop(n=6, extra=[("old/abnormal_label.txt", "### Normal:\n")])
    found = catalogue(data)
    with pytest.raises(BenchError, match="2 files that match"):
        read(found.resolve("hadoop"), found)


def test_an_unlabelled_and_an_unknown_job_are_told(hadoop):
    listed = f"### Normal:\n+ {job(0)}\n### Disk full:\n+ {job(1)}\n+ {job(77)}\n"
    data, _ = hadoop(n=3, listed=listed)
    found = catalogue(data)
    log = read(found.resolve("hadoop"), found)
    assert log.session_labels.tolist() == [0, 1, -1]
    assert any("1 sessions have no label" in note and job(2) in note for note in log.notes)
    assert any("1 sessions of the label file are not in the log" in note and job(77) in note for note in log.notes)


def machine(i):
    return f"{i:08x}-aaaa-4bbb-8ccc-{i:012x}"


def cloud_lines(file, machines, start):
    """Lines of a virtual machine's life, with lines between that name none."""
    lines = []
    for step in range(4):
        for i in machines:
            at = start + datetime.timedelta(seconds=step, microseconds=1000 * (i % 900))
            time = at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03}"
            request = f"[req-{machine(1000 + i)} {i:032x} {i:032x} - - -]" if step else "[-]"
            lines.append(
                f"nova-compute.log.1.2017-05-16_13:55:31 {time} 2931 INFO nova.compute.manager {request} "
                f"[instance: {machine(i)}] Step {step} of tea took {i}.25 seconds"
            )
            lines.append(
                f"nova-api.log.1.2017-05-16_13:53:08 {time} 25746 INFO nova.osapi_compute.wsgi.server {request} "
                f'10.11.10.1 "GET /v2/{i:032x}/servers/{machine(i)} HTTP/1.1" status: 200 len: 1893 time: 0.2477829'
            )
    return "\n".join(lines) + "\n"


@pytest.fixture
def openstack(tmp_path):
    """Unpack an OpenStack.tar.gz as a user does."""
    start = datetime.datetime(2017, 5, 16, tzinfo=datetime.UTC)
    bad = [machine(62), machine(65), machine(69)]
    members = {
        "openstack_normal1.log": cloud_lines("normal1", range(20), start),
        "openstack_normal2.log": cloud_lines("normal2", range(20, 60), start + datetime.timedelta(hours=1)),
        "openstack_abnormal.log": cloud_lines("abnormal", range(60, 70), start + datetime.timedelta(hours=2)),
        "anomaly_labels.txt": "Machines into which a failure was injected:\n\n" + "\n".join(bad) + "\n",
    }
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w:gz") as archive:
        for name, text in members.items():
            row = tarfile.TarInfo(name)
            row.size = len(text)
            archive.addfile(row, io.BytesIO(text.encode()))
    (tmp_path / "openstack").mkdir()
    box.seek(0)
    with tarfile.open(fileobj=box) as archive:
        archive.extractall(tmp_path / "openstack", filter="data")
    return tmp_path, bad


def test_openstack(openstack):
    data, bad = openstack
    found = catalogue(data)
    log = read(found.resolve("openstack"), found)
    assert (len(log), log.n_headerless) == (70 * 8, 0)
    assert list(log.session_ids) == [machine(i) for i in range(70)]
    assert [log.session_ids[i] for i in (log.session_labels == 1).nonzero()[0]] == bad
    assert (log.session_labels == 0).sum() == 67
    # Requests name a machine too, but not as `[instance: ...]`.
    assert len(log.session_lines) == 70 * 4
    assert log.times[2] - log.times[0] == pytest.approx(0.001, abs=1e-6)
    messages = [log.messages[i] for i in log.message_ids[:2]]
    assert messages == [
        "[instance: <*>] Step <*> of tea took <*> seconds",
        '<*> "GET <*> HTTP/<*>" status: <*> len: <*> time: <*>',
    ]


def super_lines(n, first, every):
    """Lines with the header that Thunderbird, Liberty and Spirit share."""
    for i in range(n):
        at = datetime.datetime.fromtimestamp(first + i, datetime.UTC)
        label, text = ("-", f"session {i} opened for user tea") if i % every else ("R_POT", "pot_mon: lid is open")
        yield (
            f"{label} {first + i} {at:%Y.%m.%d} ln{i % 9} {at:%b} {at.day} {at:%H:%M:%S} ln{i % 9}/ln{i % 9} "
            f"brewd(pam_unix)[{i}]: {text}"
        )


@pytest.mark.parametrize(("name", "first"), [("liberty", 1102809600), ("spirit", 1104566401)])
def test_liberty_and_spirit(tmp_path, name, first):
    lines = list(super_lines(200, first, 50))
    (tmp_path / name).mkdir()
    (tmp_path / f"{name}/{name}2.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    found = catalogue(tmp_path)
    card = found.resolve(name)
    assert (card.key, card.tier) == (f"{name}@full", "development")
    log = read(card, found)
    assert (len(log), log.n_headerless, dict(log.alerts)) == (200, 0, {"R_POT": 4})
    assert log.labels.nonzero()[0].tolist() == [0, 50, 100, 150]
    assert log.times.tolist() == [first + i for i in range(200)]
    assert list(log.messages) == [
        "brewd(pam_unix)[<*>]: pot_mon: lid is open",
        "brewd(pam_unix)[<*>]: session <*> opened for user tea",
    ]


def test_the_recorded_edition_of_spirit_keeps_its_header():
    card = catalogue().find("spirit@lines-a")
    assert card.format.header == "^(?P<time>[0-9]+) (?P<message>.*)$"
    assert card.parser == catalogue().find("spirit@full").parser


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run `bench` in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_hadoop_runs(hadoop, call):
    data, n_lines = hadoop()
    code, out, _ = call("data", "prepare", "hadoop", "--data", data)
    assert (code, f"{n_lines} lines" in out) == (0, True)
    code, out, err = call("run", "--scenario", "hadoop", "--methods", "new-event", "--seeds", 1, "--data", data)
    assert code == 0, err
    assert "hadoop@full" in out


@pytest.mark.slow
def test_openstack_runs(openstack, call):
    data, _ = openstack
    code, out, err = call("run", "--scenario", "openstack", "--methods", "new-event", "--seeds", 1, "--data", data)
    assert code == 0, err
    assert "openstack@full" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("run", "--methods", "new-event", "--scenario", "hadoop"),
            ("hadoop/Hadoop.zip", "zenodo.org/records/8196385"),
        ),
        (("data", "info", "liberty"), ("liberty/liberty2.gz", "https://www.usenix.org/cfdr-data")),
        (("data", "prepare", "openstack@full"), ("openstack/openstack_abnormal.log", "OpenStack.tar.gz")),
        (("data", "fetch", "hadoop"), ("hadoop/Hadoop.zip", "zenodo.org/records/8196385")),
    ],
)
def test_without_its_files_one_sentence_says_what_is_missing(call, arguments, expected):
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(part in err for part in expected)
