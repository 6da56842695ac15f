"""Where a user's file stands for a data folder: in it, or as a link or a copy below it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench._files import replacing
from bench.errors import BenchError


def all_placed(
    files: Mapping[str, Path], folder: Path, name: str, *, copy: bool, force: bool
) -> dict[str, tuple[Path, str]]:
    """Each file by its role, as `placed`; two files that would take one place are a BenchError."""
    outside = [file for file in files.values() if not file.resolve().is_relative_to(folder.resolve())]
    if len({file.name for file in outside}) < len({file.resolve() for file in outside}):
        raise BenchError(
            f"{' and '.join(map(str, outside))} have one name and would lie in one place below {folder}: rename one"
        )
    return {role: placed(file, folder, name, copy=copy, force=force) for role, file in files.items()}


def placed(file: Path, folder: Path, name: str, *, copy: bool, force: bool) -> tuple[Path, str]:
    """The file below the data folder, and a note; one from elsewhere stays there and is linked, or it is copied."""
    for path, root in ((file.absolute(), folder.absolute()), (file.resolve(), folder.resolve())):
        if path.is_relative_to(root) and ".." not in path.parts:
            return path, ""
    target = folder / name / file.name
    is_linked = target.is_symlink() and target.resolve() == file.resolve()
    if target.exists() and not force and not (is_linked and not copy):
        raise BenchError(f"{target} exists: give --force to replace it by '{file}', or remove it")
    if copy:
        with replacing(target) as stream, file.open("rb") as source:
            shutil.copyfileobj(source, stream, 1 << 20)
        return target, ""
    _link(target, file)
    return target, f"{file.absolute()} stays where it is, {target} is a link to it; --copy copies it."


def _link(target: Path, file: Path) -> None:
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(exist_ok=True)
        temporary.symlink_to(file.resolve())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BenchError(
            f"{target} cannot be made a link to '{file}' ({error.strerror or error}): give --copy, or move the file "
            f"below {target.parent.parent}"
        ) from None
