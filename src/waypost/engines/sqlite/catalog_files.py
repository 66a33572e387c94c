"""Reads what a catalog is made of: its files, and the secrets it refers to.

Owns: which files belong to a catalog, and the bounds on reading them. Reads files and the environment; writes nothing.
Never parses a catalog, and never says what a secret is.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from waypost.errors import WaypostError

SUFFIXES = (".yaml", ".yml")
CASES_FOLDER = "tests"
CASES_SUFFIXES = (".test.yaml", ".test.yml")
FILES_MAX = 10_000
SECRET_BYTES_MAX = 4_096


def read_sources(path: Path, bytes_max: int) -> list[tuple[str, str]]:
    """(name, text) of a file, or of every *.yaml and *.yml below a folder, in sorted order; hidden ones and
    files of cases (`is_of_cases`) are left out.

    Names are relative: a file's own name, or its path within the folder. Raises WaypostError `catalog_not_found`,
    `catalog_too_large` (all files together), `catalog_syntax` (not UTF-8).
    """
    try:
        files = _files_below(path) if path.is_dir() else [path]
        sources: list[tuple[str, str]] = []
        left = bytes_max
        for file in files:
            name = file.relative_to(path).as_posix() if file != path else file.name
            data = _read(file, left)
            left -= len(data)
            sources.append((name, _text(data, name)))
    except OSError as error:
        raise WaypostError("catalog_not_found", f"cannot be read: {error.strerror}", place=str(path)) from error
    return sources


def read_case_sources(path: Path, named: Sequence[Path], bytes_max: int) -> list[tuple[str, str]]:
    """(name, text) of the files of cases that are named, or of all that belong to the catalog `path`: beside a file
    `*.test.yaml` and `tests/*.yaml`, in a folder those of all its folders. Names are relative to the catalog's folder,
    or whole paths where they are elsewhere. Raises as `read_sources` does.
    """
    folder = path if path.is_dir() else path.parent
    try:
        found = [file for one in named for file in (_yaml_below(one) if one.is_dir() else [one])]
        if not named and path.is_dir():
            found = [file for file in _yaml_below(path) if is_of_cases(file.relative_to(path))]
        elif not named:
            found = [file for file in sorted(path.parent.glob("*")) if file.name.endswith(CASES_SUFFIXES)]
            found += _yaml_below(path.parent / CASES_FOLDER)
        if not found:
            beside = path / "catalog" if path.is_dir() else path.with_suffix("")
            hint = f"write some into {beside}{CASES_SUFFIXES[0]}"
            raise WaypostError("catalog_not_found", "no cases stand beside the catalog", place=str(path), hint=hint)
        names = [str(file.relative_to(folder) if file.is_relative_to(folder) else file.absolute()) for file in found]
        return [(name, _text(_read(file, bytes_max), name)) for name, file in zip(names, found, strict=True)]
    except OSError as error:
        raise WaypostError("catalog_not_found", f"cannot be read: {error.strerror}", place=str(path)) from error


def is_of_cases(file: Path) -> bool:
    """Whether a file of a catalog's folder holds cases: by its name, or by its folder's. Its path is within that
    folder."""
    return CASES_FOLDER in file.parts[:-1] or file.name.endswith(CASES_SUFFIXES)


def _files_below(folder: Path) -> list[Path]:
    found = [file for file in _yaml_below(folder) if not is_of_cases(file.relative_to(folder))]
    if not found:
        detail = "the folder has no *.yaml or *.yml file"
        raise WaypostError("catalog_not_found", detail, place=str(folder))
    return found


def _yaml_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
        if len(found) > FILES_MAX:
            raise WaypostError("catalog_too_large", f"has more than {FILES_MAX} files", place=str(folder))
    return sorted(found)


def _read(file: Path, bytes_max: int) -> bytes:
    if not file.is_file():
        detail = "is not a file" if file.exists() else "there is no such file or folder"
        raise WaypostError("catalog_not_found", detail, place=str(file))
    with file.open("rb") as stream:
        data = stream.read(bytes_max + 1)
    if len(data) > bytes_max:
        hint = "[catalog] bytes_max in the settings bounds all files together"
        raise WaypostError("catalog_too_large", "the catalog's files are too large", place=str(file), hint=hint)
    return data


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WaypostError("catalog_syntax", "is not UTF-8", place=f"{name}:{line}", hint="save it as UTF-8") from error


def resolve_secret(token: str) -> str:
    """What a token is: itself, an environment variable's value (`env:NAME`), or a file's text (`file:PATH`, stripped).

    Raises WaypostError `catalog_secret`; its text names the variable or the file, never what is in it.
    """
    if token.startswith("env:"):
        name = token.removeprefix("env:")
        value = os.environ.get(name, "").strip()
        if not value:
            raise WaypostError("catalog_secret", f"the environment variable {name} is not set", hint=f"set {name}")
        return value
    if token.startswith("file:"):
        path = token.removeprefix("file:")
        try:
            with Path(path).open("rb") as stream:
                value = stream.read(SECRET_BYTES_MAX + 1)[:SECRET_BYTES_MAX].decode("utf-8").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            hint = "check the path and who may read it"
            raise WaypostError(
                "catalog_secret", f"the secret's file {path} cannot be read: {why}", hint=hint
            ) from error
        if not value:
            raise WaypostError("catalog_secret", f"the secret's file {path} is empty", hint="put the token into it")
        return value
    return token
