"""`villa console` as its user calls it wrongly, and what it prints when it is called rightly."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from villa_ros.cli import console
from villa_ros.viewers.web.server import Opened

app = typer.Typer()
app.command()(console.console)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--camera", "wrist"], 2, "--camera wrist: wanted NAME=TOPIC"),
        (["--port", "70000"], 2, "--port"),
        (["--tls-cert", "no.pem"], 2, "no.pem"),
        (["--token", "short"], 1, "5 characters; give at least 12"),
        (["--host", "192.0.2.1", "--port", "0"], 1, "cannot listen on 192.0.2.1"),
    ],
)
def test_a_wrong_call_is_answered_in_words(arguments: list[str], code: int, words: str) -> None:
    if code == 1:
        pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
        pytest.importorskip("uvicorn", reason="needs uvicorn (pip: villa-ros[console])")
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert done.exit_code == code
    assert words in " ".join(done.output.replace("\u2502", " ").split())


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    pytest.importorskip("uvicorn", reason="needs uvicorn (pip: villa-ros[console])")
    (tmp_path / "cert.pem").touch()
    done = CliRunner().invoke(app, ["--tls-cert", str(tmp_path / "cert.pem"), "--port", "0"])
    assert done.exit_code == 1
    assert "give --tls-cert and --tls-key" in " ".join(done.output.split())


def test_the_link_with_its_token_is_printed_once_and_nothing_in_it_is_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=said, width=60))
    where = Opened("https://[::1]:8080/", "a token [bold]", "AB:CD", "a warning")
    console.tell(where)
    assert said.getvalue().splitlines() == [
        "console: https://[::1]:8080/#token=a%20token%20%5Bbold%5D",
        "certificate, SHA-256: AB:CD",
        "a warning",
        "Ctrl-C ends it.",
    ]


def test_a_replay_with_a_console_says_where_it_is_and_ends_by_ctrl_c() -> None:
    pytest.importorskip("uvicorn", reason="needs uvicorn (pip: villa-ros[console])")
    script = (
        "from fakes import BlobModel; from villa_ros.cli.console import console_on_replay;"
        "from villa_ros.runtime.package_share import share_path;"
        "console_on_replay(share_path('sample', 'tabletop'), [], BlobModel(), port=0)"
    )
    program = [sys.executable, "-c", script]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        words, link = run.stdout.readline().split()
        assert words == "console:"
        assert run.stdout.readline() == "Ctrl-C ends it.\n"
        with urllib.request.urlopen(link, timeout=60) as page:
            assert b"villa" in page.read()
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (0, "", "")
