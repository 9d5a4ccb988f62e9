"""The files of a bag, whatever they are: found, told apart by their first bytes, unpacked, opened."""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePath
from typing import BinaryIO

import zstandard

from villa.files.plain_data import read_yaml
from villa_ros.bags.mcap_storage import McapStorage
from villa_ros.bags.sqlite_storage import SqliteStorage
from villa_ros.bags.storage import LATEST_NS, ZSTD, Channel, Storage, StorageError, Stored

_MCAP, _SQLITE, _ROS1 = b"\x89MCAP0\r\n", b"SQLite format 3\0", b"#ROSBAG V"
_SUFFIXES = (".mcap", ".db3", ".zstd", ".zst")
_BLOCK = 1 << 20  # bytes that are unpacked at once


class Storages:
    """All files of a bag as one storage. Use it as a context manager.

    Raises:
        StorageError: nothing there, no bag, damaged beyond its beginning, or in a form that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._open: list[Storage] = []
        self.channels: list[Channel] = []  # of all files, those of the same topic, type and encoding together
        self.faults: list[str] = []

    def __enter__(self) -> Storages:
        try:
            for file in self._files():
                storage = self._opened(file)
                self._stack.callback(storage.close)
                self._open.append(storage)
                self.faults += storage.faults
        except BaseException:
            self._stack.close()
            raise
        self.channels = _together(self._open)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def start_ns(self) -> int:
        """Log time of the first message; 0 where there is none."""
        return min((one.start_ns for one in self._holding()), default=0)

    @property
    def end_ns(self) -> int:
        """Log time of the last one."""
        return max((one.end_ns for one in self._holding()), default=0)

    def messages(
        self, wanted: Callable[[Channel], bool], start_ns: int = 0, stop_ns: int = LATEST_NS
    ) -> Iterator[Stored]:
        """As `Storage.messages`, of all files."""
        parts = [one.messages(wanted, start_ns, stop_ns) for one in self._holding()]
        return parts[0] if len(parts) == 1 else heapq.merge(*parts, key=lambda stored: stored[1])

    def _holding(self) -> list[Storage]:
        return [one for one in self._open if one.start_ns <= one.end_ns]

    def _files(self) -> list[Path]:
        path = self._path
        if not path.exists():
            raise StorageError(f"no bag at {path}; give an .mcap or .db3 file or a rosbag2 folder")
        if not path.is_dir():
            return [path]
        present = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        listed = self._listed(path / "metadata.yaml")
        if listed is None:
            listed = present
        missing = [file.name for file in listed if not file.exists()]
        if listed and not any(file.exists() for file in listed):
            raise StorageError(f"{path}: none of its files are there ({', '.join(missing)}): copy the whole folder")
        if missing:
            self.faults.append(
                f"of {len(listed)} files that metadata.yaml names, {', '.join(missing)} are missing: "
                "what they hold is not read"
            )
        found = [file for file in listed if file.exists()]
        if not found:
            raise StorageError(
                f"{path} holds no bag file (.mcap, .db3, or one of them as .zstd) and no metadata.yaml that names one; "
                "give a rosbag2 folder or one of its files"
            )
        return found

    def _listed(self, metadata: Path) -> list[Path] | None:
        """The files that metadata.yaml names, as they lie beside it; None without one that can be read."""
        if not metadata.exists():
            return None
        try:
            names = read_yaml(metadata)["rosbag2_bagfile_information"]["relative_file_paths"]
            files = [metadata.parent / PurePath(name).name for name in names]
        except (ValueError, TypeError, KeyError) as error:
            seen = " ".join(str(error).split())
            self.faults.append(
                f"{metadata} cannot be read ({seen}): repair it with: ros2 bag reindex {metadata.parent}"
            )
            return None
        return files or None

    def _opened(self, file: Path) -> Storage:
        head = _head(file)
        if head.startswith(ZSTD):
            file = self._unpacked(file)
            head = _head(file)
        if head.startswith(_MCAP):
            return McapStorage(file)
        if head.startswith(_SQLITE):
            return SqliteStorage(file)
        if head.startswith(_ROS1):
            raise StorageError(
                f"{file} is a bag of ROS 1: convert it with: rosbags-convert --src {file.name} --dst DIR"
            )
        if not head:
            raise StorageError(f"{file} is empty: the recorder wrote nothing, or the copy failed")
        raise StorageError(
            f"{file} is no bag: it begins with {head[:8].hex(' ')}, wanted MCAP (89 4d 43 41 50), SQLite "
            "(53 51 4c 69 74 65), or one of them under zstd (28 b5 2f fd)"
        )

    def _unpacked(self, file: Path) -> Path:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="villa_bag_")))
        out = folder / file.with_suffix("").name
        room = shutil.disk_usage(folder).free
        try:
            with file.open("rb") as packed, out.open("wb") as plain:
                size = zstandard.get_frame_parameters(packed.read(64)).content_size
                if size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR) and size > room:
                    raise StorageError(
                        f"{file} holds {size / 1e9:.1f} GB, {folder.parent} has {room / 1e9:.1f} GB free: "
                        "set TMPDIR to a larger disk, or unpack it with: zstd -d"
                    )
                packed.seek(0)
                whole = _unpack(packed, plain)
        except zstandard.ZstdError as error:
            raise StorageError(f"{file} cannot be unpacked ({error}): it is damaged or was cut short") from error
        except OSError as error:
            raise StorageError(f"{file} cannot be unpacked to {folder.parent}: {error}") from error
        if not whole:
            self.faults.append(f"{file.name} was cut off: what can be unpacked of it is read")
        return out


def _together(storages: Iterable[Storage]) -> list[Channel]:
    found: dict[tuple[str, str, str], Channel] = {}
    for channel in chain.from_iterable(storage.channels for storage in storages):
        key = (channel.topic, channel.type, channel.encoding)
        known = found.get(key)
        if known is None:
            found[key] = channel
        else:
            definition = known.definition or channel.definition
            found[key] = replace(known, count=known.count + channel.count, definition=definition)
    return list(found.values())


def _unpack(packed: BinaryIO, plain: BinaryIO) -> bool:
    """All frames of a file; false where it ends within one."""
    unpacker, within = zstandard.ZstdDecompressor().decompressobj(), False
    while data := packed.read(_BLOCK):
        while data:
            plain.write(unpacker.decompress(data))
            data = unpacker.unused_data if unpacker.eof else b""
            if unpacker.eof:
                unpacker = zstandard.ZstdDecompressor().decompressobj()
                within = bool(data)
            else:
                within = True
    return not within


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except OSError as error:
        raise StorageError(f"{file} cannot be opened: {error.strerror or error}") from error
