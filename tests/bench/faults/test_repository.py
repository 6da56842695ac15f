"""A run looks at the repository it runs from and locks nothing there: a kill would leave the lock to its user."""

import os
import subprocess

from bench.experiment import environment


def git(folder, *arguments):
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_looking_at_a_repository_writes_nothing_into_it(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "a")
    os.utime(tmp_path / "a.py", (1e9, 1e9))  # git would note in its index that the content is the same
    lock = tmp_path / ".git" / "index.lock"
    before = (tmp_path / ".git" / "index").read_bytes()
    assert environment._git(tmp_path, "status", "--porcelain") == ""
    assert (tmp_path / ".git" / "index").read_bytes() == before
    assert not lock.exists()
