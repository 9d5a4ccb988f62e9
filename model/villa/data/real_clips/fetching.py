"""The file that a clip is cut from: out of a folder, a Debian package or the web, and never another one than listed."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

from villa.data.real_clips.debian import DebError, read_member
from villa.data.real_clips.listing import Clip, RealClipError
from villa.files.whole import write_bytes

_FILES = "files"  # folder in the cache
_LARGEST = 64 * 2**20  # bytes of a file from the web: the largest listed has 3 MB
_PATIENCE_S = 60.0


def find_video(clip: Clip, cache: Path, folders: Sequence[Path] = (), *, fetch: bool = True) -> tuple[Path, ...]:
    """The clip's video as one path, or its pictures as one path for each frame of the excerpt; kept in the cache.

    Looked for in the cache, then by name anywhere in `folders`, then in the Debian package or at the address of the
    list. A gzipped file is taken for what is in it.

    Args:
        clip: What is wanted.
        cache: Folder for what was found, made if needed.
        folders: With files that somebody has already downloaded.
        fetch: May packages and addresses be asked? Needs a network.

    Raises:
        RealClipError: it is not there, cannot be fetched, or is another file: then its hash is not the listed one.
        OSError: the cache cannot be written.
    """
    names = _names(clip)
    kept = tuple(cache / _FILES / clip.name / name for name in names)
    if all(path.is_file() for path in kept) and _digest([path.read_bytes() for path in kept]) == clip.source.sha256:
        return kept
    contents = _from_folders(clip, names, folders)
    if contents is None:
        if not fetch:
            raise RealClipError(f"{clip.source.file} is in none of the folders given, and nothing may be fetched")
        contents = _from_package(clip, cache) if clip.source.debian is not None else _from_web(clip, names)
    for path, content in zip(kept, contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return kept


def _names(clip: Clip) -> tuple[str, ...]:
    if not clip.source.is_pictures:
        return (clip.source.file,)
    return tuple(clip.source.file.format(frame) for frame in clip.excerpt.frames)


def _digest(contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _checked(clip: Clip, contents: list[bytes], where: str) -> list[bytes]:
    seen = _digest(contents)
    if seen != clip.source.sha256:
        raise RealClipError(
            f"{where} is another file than the one that was outlined: its SHA-256 is {seen}, wanted "
            f"{clip.source.sha256}"
        )
    return contents


def _from_folders(clip: Clip, names: Sequence[str], folders: Sequence[Path]) -> list[bytes] | None:
    """Contents from the first folder that has them; None where none has a file of the name."""
    wrong: RealClipError | None = None
    for folder in folders:
        for first in sorted([*folder.rglob(names[0]), *folder.rglob(f"{names[0]}.gz")]):
            paths = [first, *(first.with_name(name) for name in names[1:])]
            if missing := [path for path in paths if not path.is_file()]:
                wrong = RealClipError(f"{missing[0]} is not there, though {first.name} beside it is")
                continue
            try:
                return _checked(clip, [_read(path) for path in paths], str(first))
            except RealClipError as error:  # there may be the right one further on
                wrong = error
    if wrong is not None:
        raise wrong
    return None


def _read(path: Path) -> bytes:
    return _unpacked(path.read_bytes(), str(path)) if path.suffix == ".gz" else path.read_bytes()


def _unpacked(packed: bytes, where: str) -> bytes:
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise RealClipError(f"{where} does not unpack: {error}") from error


def _from_package(clip: Clip, cache: Path) -> list[bytes]:
    """Download a package with apt-get, without installing it, and read the file out of it."""
    name = clip.source.debian or ""
    held = cache / _FILES / name
    held.mkdir(parents=True, exist_ok=True)
    packages = sorted(held.glob(f"{name}_*.deb"))
    if not packages:
        apt = shutil.which("apt-get")
        if apt is None:
            raise RealClipError(f"{clip.source.file} is in Debian's package {name}, and there is no apt-get here")
        # apt-get leaves half a file behind when it is interrupted: only a whole one is moved to where it is looked for
        with tempfile.TemporaryDirectory(dir=held) as scratch:
            done = subprocess.run([apt, "download", name], cwd=scratch, capture_output=True, text=True, check=False)
            packages = [path.rename(held / path.name) for path in sorted(Path(scratch).glob("*.deb"))]
        if done.returncode or not packages:
            said = done.stderr.strip().splitlines()
            raise RealClipError(
                f"apt-get could not download {name}: {said[-1] if said else 'it said nothing'}; try `apt-get update`"
            )
    try:
        member, content = read_member(packages[-1], (clip.source.file, f"{clip.source.file}.gz"))
    except DebError as error:
        raise RealClipError(str(error)) from error
    where = f"{packages[-1]}: {member}"
    return _checked(clip, [_unpacked(content, where) if member.endswith(".gz") else content], where)


def _from_web(clip: Clip, names: Sequence[str]) -> list[bytes]:
    address = clip.source.address or ""
    addresses = [f"{address}{name}" for name in names] if clip.source.is_pictures else [address]
    return _checked(clip, [_downloaded(one) for one in addresses], address)


def _downloaded(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE_S) as answer:
            content: bytes = answer.read(_LARGEST + 1)
    except (URLError, OSError, ValueError) as error:
        raise RealClipError(f"{address} cannot be had: {getattr(error, 'reason', error)}") from error
    if len(content) > _LARGEST:
        raise RealClipError(f"{address} is larger than {_LARGEST >> 20} MiB: this is not the file that is listed")
    return content
