"""One file out of a Debian package, without dpkg: an `ar` archive that holds a tar archive, `data.tar.*`.

Format: https://manpages.debian.org/deb.5
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
_NAME, _SIZE, _END = slice(0, 16), slice(48, 58), slice(58, 60)


class DebError(ValueError):
    """A file is no Debian package that can be read here, or does not hold what is wanted."""


def read_member(package: Path, names: Sequence[str]) -> tuple[str, bytes]:
    """The first file in a package that has one of these names, whatever folder it is in -> its path and its bytes.

    Raises:
        DebError: no package, packed in a way that Python's tarfile does not know (zstd), or no such file in it.
        OSError: the package cannot be read.
    """
    data = _data_archive(package)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.isfile() and PurePosixPath(member.name).name in names:
                    content = archive.extractfile(member)
                    assert content is not None  # of a file it never is
                    return member.name, content.read()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DebError(f"{package}: its data archive cannot be read: {error}") from error
    raise DebError(f"{package} holds no file {' or '.join(names)}")


def _data_archive(package: Path) -> bytes:
    with package.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise DebError(f"{package} is no Debian package: wanted an ar archive")
        while len(header := stream.read(_HEADER)) == _HEADER and header[_END] == b"`\n":
            size = int(header[_SIZE])
            if header[_NAME].startswith(b"data.tar"):
                return stream.read(size)
            stream.seek(size + size % 2, io.SEEK_CUR)  # members begin at even bytes
    raise DebError(f"{package} is no Debian package: it holds no data.tar")
