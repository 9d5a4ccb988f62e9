"""Published parts from the Hugging Face hub into a folder, with a lock: what was fetched once is what is used later.

Configurations, tokenizers and safetensors only, never code and never pickle. The lock holds each repository's revision
and the SHA-256 of each file; a later call refuses what differs from it, on the hub or on the disk.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from villa.files.plain_data import PlainDataError, read_json
from villa.files.whole import write_text

LOCK = "villa.lock.json"
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model")
_FORMAT = "villa-lock-1"
_TIMEOUT_S = 20.0  # for the hub's first answer
_CHUNK_BYTES = 1 << 20


class HubError(RuntimeError):
    """The hub, the lock and the disk do not agree, or the hub has no such repository."""


class UnreachableError(HubError):
    """There is no hub to ask."""


@dataclass(frozen=True)
class Locked:
    """One part as it was fetched."""

    repository: str
    revision: str | None  # commit; None: the files were put there by hand
    files: dict[str, str]  # name -> SHA-256


@dataclass(frozen=True)
class _Listed:
    """What the hub has of a repository."""

    revision: str
    files: dict[str, str]  # name -> SHA-256 of a large file, "git " and the blob's id of a small one
    size: int  # bytes


def fetch(
    wanted: Mapping[str, str], folder: Path, *, update: bool = False, endpoint: str | None = None
) -> dict[str, Locked]:
    """Fetch repositories into the folder's subfolders, `wanted` = {subfolder: repository}, and write the lock.

    Without a hub, folders that somebody filled by hand are taken as they are; what the lock says of them still holds.
    `update` accepts other revisions and other files than the lock's. `endpoint` is the hub's address; without one it
    is huggingface_hub's own (HF_ENDPOINT).

    Raises:
        UnreachableError: no hub, and nothing in a subfolder; the message says what to do.
        HubError: a revision or a file differs from the lock, no such repository, or too little space.
    """
    lock = read_lock(folder)
    known = {} if update else lock
    for name, repository in wanted.items():
        if name in known and known[name].repository != repository:
            raise HubError(
                f"{folder / name} was fetched from {known[name].repository}, not from {repository}: choose another "
                "--out, or accept the new one with --update"
            )
        if name in known:
            _compare(folder / name, _hashes(folder / name), known[name], complete=False)
    try:
        listed = {name: _list(repository, endpoint) for name, repository in wanted.items()}
    except UnreachableError as error:
        return _by_hand(wanted, folder, lock, known, error)
    for name, there in listed.items():
        before = known[name].revision if name in known else None
        if before is not None and before != there.revision:
            raise HubError(
                f"{wanted[name]} is at revision {there.revision} on the hub, {folder / LOCK} holds {before}: keep what "
                "is there, or accept the new one with --update"
            )
    _need_space(folder, sum(there.size for there in listed.values()))
    for name, there in listed.items():
        if update:
            _clear(folder / name, lock.get(name), there)
        _download(wanted[name], there, folder / name, endpoint)
        got = Locked(wanted[name], there.revision, _hashes(folder / name))
        for file, theirs in there.files.items():
            if not _is(folder / name / file, theirs, got.files.get(file)):
                raise HubError(
                    f"{folder / name / file} is not what the hub has of {wanted[name]} ({theirs}): delete it and run "
                    "the same command again"
                )
        if name in known:
            _compare(folder / name, got.files, known[name], complete=True)
        lock[name] = got
        _write_lock(folder, lock)
    return {name: lock[name] for name in wanted}


def commands(wanted: Mapping[str, str], folder: Path) -> str:
    """What to type on a machine that reaches the hub, and where the result belongs."""
    include = " ".join(f"--include '{pattern}'" for pattern in PATTERNS)
    lines = [f"  hf download {repository} {include} --local-dir {name}" for name, repository in wanted.items()]
    places = " and ".join(str(folder.absolute() / name) for name in wanted)
    return (
        "On a machine that reaches it (pip install huggingface_hub):\n"
        + "\n".join(lines)
        + f"\nthen copy the folders to {places}, and run the same command again."
    )


def read_lock(folder: Path) -> dict[str, Locked]:
    """The lock of a folder, by subfolder; empty where there is none.

    Raises:
        HubError: the file is damaged, or of another version.
    """
    path = folder / LOCK
    if not path.is_file():
        return {}
    try:
        data = read_json(path)
        if data["format"] != _FORMAT:
            raise HubError(f"{path}: format is {data['format']!r}, wanted {_FORMAT!r}")
        return {
            name: Locked(str(part["repository"]), part["revision"], {str(k): str(v) for k, v in part["files"].items()})
            for name, part in data["parts"].items()
        }
    except (PlainDataError, KeyError, TypeError, AttributeError) as error:
        raise HubError(f"{path} is damaged ({error!r}): delete it to begin anew") from error


# -- the hub ----------------------------------------------------------------------------------------------------------


def _list(repository: str, endpoint: str | None) -> _Listed:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        info = HfApi(endpoint=endpoint).model_info(repository, files_metadata=True, timeout=_TIMEOUT_S)
    except OfflineModeIsEnabled as error:
        raise UnreachableError("HF_HUB_OFFLINE is set") from error
    except HFValidationError as error:
        raise HubError(f"{repository!r} is no name of a repository: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status >= 500:
            raise UnreachableError(f"the hub answers {status} for {repository}") from error
        raise HubError(
            f"the hub gives no access to {repository} ({status}): it is not there, or wants you to accept its terms "
            "and to log in (hf auth login)"
        ) from error
    # What a failed connection raises is another class in each version of the library.
    except Exception as error:
        raise UnreachableError(f"{type(error).__name__}: {error}") from error
    chosen = [file for file in info.siblings or () if _is_wanted(file.rfilename)]
    if info.sha is None or not chosen:
        raise HubError(f"{repository} holds none of {', '.join(PATTERNS)}: no model in a format that is read here")
    return _Listed(
        revision=info.sha,
        files={f.rfilename: f"git {f.blob_id}" if f.lfs is None else str(f.lfs.sha256) for f in chosen},
        size=sum(file.size or 0 for file in chosen),
    )


def _is_wanted(name: str) -> bool:
    """Files at the top of a repository only: what lies deeper is another format of the same model."""
    return "/" not in name and not name.startswith(".") and any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def _download(repository: str, there: _Listed, folder: Path, endpoint: str | None) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repository,
            revision=there.revision,
            local_dir=folder,
            allow_patterns=list(there.files),
            endpoint=endpoint,
        )
    except Exception as error:  # see _list
        raise HubError(
            f"the download of {repository} stopped: {type(error).__name__}: {error}; the same command goes on with it"
        ) from error


def _need_space(folder: Path, size: int) -> None:
    """Refuse before the disk is full; what is there already counts as free."""
    folder.mkdir(parents=True, exist_ok=True)
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if size > free + there:
        raise HubError(f"{folder} needs {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: choose another --out")


# -- the disk ---------------------------------------------------------------------------------------------------------


def _by_hand(
    wanted: Mapping[str, str],
    folder: Path,
    lock: dict[str, Locked],
    known: Mapping[str, Locked],
    error: UnreachableError,
) -> dict[str, Locked]:
    missing = {name: repository for name, repository in wanted.items() if not (folder / name / "config.json").is_file()}
    if missing:
        raise UnreachableError(
            f"the Hugging Face hub cannot be reached: {error}.\n{commands(missing, folder)}"
        ) from error
    for name, repository in wanted.items():
        there = _hashes(folder / name)
        if name in known:
            _compare(folder / name, there, known[name], complete=True)
        else:
            lock[name] = Locked(repository, None, there)
    _write_lock(folder, lock)
    return {name: lock[name] for name in wanted}


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a part, by name."""
    found = {}
    for path in sorted(folder.glob("*")):
        if path.is_file() and _is_wanted(path.name):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_CHUNK_BYTES):
                    digest.update(block)
            found[path.name] = digest.hexdigest()
    return found


def _is(path: Path, theirs: str, digest: str | None) -> bool:
    """Is this file, of SHA-256 `digest`, what the hub says?"""
    if digest is None or not theirs.startswith("git "):
        return digest == theirs
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return theirs == f"git {blob.hexdigest()}"


def _compare(folder: Path, seen: Mapping[str, str], locked: Locked, *, complete: bool) -> None:
    """Are the files `seen` those of the lock? Without `complete` some may be missing.

    Raises:
        HubError: the first file that is another one, is not in the lock, or is missing.
    """
    for name, digest in seen.items():
        wanted = locked.files.get(name)
        # What was put there by hand may have been put there in part.
        if wanted != digest and not (wanted is None and locked.revision is None):
            raise HubError(
                f"{folder / name} has SHA-256 {digest}, the lock says {wanted or 'nothing of this file'}: put back the "
                "file that was fetched, or accept the hub's with --update"
            )
    if complete and (gone := sorted(set(locked.files) - set(seen))):
        raise HubError(f"{folder / gone[0]} is missing, the lock has it: fetch it again, or accept that with --update")


def _clear(folder: Path, locked: Locked | None, there: _Listed) -> None:
    """Before an update: take away what the new revision does not have, and what was changed here."""
    for name, digest in _hashes(folder).items():
        if name not in there.files or (locked is not None and locked.files.get(name) != digest):
            (folder / name).unlink()


def _write_lock(folder: Path, lock: Mapping[str, Locked]) -> None:
    data: dict[str, Any] = {
        "format": _FORMAT,
        "parts": {
            name: {"repository": part.repository, "revision": part.revision, "files": part.files}
            for name, part in sorted(lock.items())
        },
    }
    write_text(folder / LOCK, json.dumps(data, indent=2) + "\n")
