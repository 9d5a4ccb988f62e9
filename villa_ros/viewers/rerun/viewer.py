"""The Rerun SDK and its viewer as programs: found or missed, and started without usage statistics.

The SDK sends no statistics itself, the viewer does. It keeps the choice in the user's own configuration, which is not
touched: a viewer that is started here is told by its environment instead.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

PORT = 9876  # Rerun's own
MEMORY_LIMIT = "2GB"
_SERVER_MEMORY_LIMIT = "512MB"  # what the viewer keeps for others that come later
_START_S = 30.0
_LOOK_S = 0.1
_SCHEMES = ("rerun", "rerun+http", "rerun+https")
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")
_INSTEAD = (
    "write a file with --to FILE.rrd instead, or send to a viewer elsewhere with --to rerun+http://HOST:9876/proxy"
)
_TOLD_CHARS = 600  # of what a viewer said before it ended


class RerunError(RuntimeError):
    """Rerun cannot be used, or not as asked."""


def require_rerun() -> None:
    """Check that the SDK is there.

    Raises:
        RerunError: it is not.
    """
    if importlib.util.find_spec("rerun_bindings") is None:
        raise RerunError('Rerun is not installed here: pip install "villa_ros[rerun]"')


def without_statistics(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment for a viewer that sends no usage statistics and writes nothing to send later.

    Viewers up to 0.41 know no variable of their own for it, but send nothing where CI is set; RERUN_ANALYTICS is what
    later ones look at.
    """
    kept = {name: value for name, value in environment.items() if name != "FORCE_RERUN_ANALYTICS"}
    return {**kept, "RERUN_ANALYTICS": "0", "CI": "1"}


def viewer_program() -> Path:
    """The viewer that the SDK brings.

    Raises:
        RerunError: the SDK is not installed, or came without one.
    """
    require_rerun()
    package = importlib.util.find_spec("rerun_cli")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    found = next((program for folder in folders if (program := Path(folder) / "rerun").is_file()), None)
    if found is None:
        raise RerunError("this Rerun SDK has no viewer in it: install rerun-sdk from the package index")
    return found


def show(recording: Path) -> int:
    """Open a recording in the viewer and wait until it is closed; returns its exit code.

    Raises:
        RerunError: there is no such recording, or no viewer.
    """
    if not recording.is_file():
        raise RerunError(f"no recording at {recording}: `villa replay --rerun` writes one")
    program = viewer_program()
    with socket.create_server(("127.0.0.1", 0)) as free:  # a viewer on the usual port would be handed the file instead
        port = free.getsockname()[1]
    arguments = [str(program), "--bind", "127.0.0.1", "--port", str(port), str(recording)]
    return subprocess.call(arguments, env=without_statistics(os.environ))


def start_viewer(port: int = PORT, memory_limit: str = MEMORY_LIMIT, save_to: Path | None = None) -> int:
    """Start a viewer that listens on this machine alone, and wait until it does; returns its process id.

    It outlives this process, so that what was recorded can be looked at, and drops the oldest beyond `memory_limit`.
    With `save_to` it has no window: it writes what it is sent to that file.

    Raises:
        RerunError: there is no display for its window, or it ended at once; the message has what it said.
    """
    arguments = [str(viewer_program()), "--bind", "127.0.0.1", "--port", str(port), "--memory-limit", memory_limit]
    arguments += ["--server-memory-limit", _SERVER_MEMORY_LIMIT, "--expect-data-soon"]
    if save_to is not None:
        arguments += ["--save", str(save_to)]
    elif not any(os.environ.get(name) for name in _DISPLAYS):  # it would listen for a moment, and end then
        raise RerunError(f"there is no display for the Rerun viewer ({' and '.join(_DISPLAYS)} are empty); {_INSTEAD}")
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=without_statistics(os.environ),
            start_new_session=True,
        )
        deadline_s = time.monotonic() + _START_S
        while not answers("127.0.0.1", port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                process.kill()
                process.wait()
                said.seek(0)
                told = " ".join(said.read().decode("utf-8", "replace").split())[-_TOLD_CHARS:]
                raise RerunError(f"the Rerun viewer did not open ({told or 'it said nothing'}); {_INSTEAD}")
            time.sleep(_LOOK_S)
    threading.Thread(target=process.wait, daemon=True).start()  # one that is closed before us is reaped at once
    return process.pid


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a viewer's address.

    Raises:
        RerunError: it is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in _SCHEMES or not host or parts.path != "/proxy":
        raise RerunError(f"{url} is no address of a Rerun viewer; wanted rerun+http://HOST:{PORT}/proxy")
    return host, port or PORT


def answers(host: str, port: int, patience_s: float = 1.0) -> bool:
    """Does anything listen there?"""
    try:
        with socket.create_connection((host, port), patience_s):
            return True
    except OSError:
        return False
