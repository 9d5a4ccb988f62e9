"""A disk that is full ends a command with one line, and nothing half written takes the place of what was there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from villa.files.whole import appearing, write_text
from villa_ros.cli import main as command

_FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [{paths}]
from villa_ros.bags.reader import BagError
from villa_ros.bags.writer import BagWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    with BagWriter(Path({bag!r})) as writer:
        for row in range(2000):
            data = bytes([0, 1, 0, 0, 4, 0, 0, 0]) + bytes([row % 251]) * 400
            writer.write_raw("/a", "std_msgs/msg/String", row, data)
except BagError as error:
    print(error)
"""


def test_a_bag_on_a_full_disk_is_told_of_and_leaves_the_one_before(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "before").write_text("kept")
    paths = ", ".join(map(repr, filter(None, os.environ.get("PYTHONPATH", "").split(":"))))
    root = Path(__file__).parents[2]
    script = _FULL.format(bag=str(bag), paths=f"{paths}{', ' if paths else ''}{str(root)!r}, {str(root / 'model')!r}")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert "is the disk full?" in done.stdout, done.stderr
    assert (bag / "before").read_text() == "kept"
    assert not (tmp_path / "bag.part").exists()


def test_any_command_on_a_full_disk_ends_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/out/result.json")

    monkeypatch.setattr(command, "app", full)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert "/out/result.json: No space left on device" in capsys.readouterr().err


def test_other_errors_of_files_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    monkeypatch.setattr(command, "app", wrong)
    with pytest.raises(FileNotFoundError):
        command.main()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_text(path, "before")
    with suppress(KeyboardInterrupt), appearing(path) as part:
        part.write_text("hal")
        assert path.read_text() == "before"
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["config.json"]
