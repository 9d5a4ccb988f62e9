"""The commands without ROS: what is heard in a recording, and the benchmark."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from villa_ros.bench import speech as speech_bench
from villa_ros.cli import speech as cli_speech
from villa_ros.speech import bench_phrases
from villa_ros.speech.audio import write_wav
from villa_ros.speech.vocabulary import shipped

app = typer.Typer()
app.command()(cli_speech.speech)
app.command("bench-speech")(cli_speech.bench_speech)


def run(*arguments):
    return CliRunner().invoke(app, [str(part) for part in arguments])


def test_a_recording_is_told_line_by_line(say, tmp_path):
    write_wav(tmp_path / "spoken.wav", say("Track the red mug.", "Stop!"))
    result = run("speech", tmp_path / "spoken.wav")
    assert result.exit_code == 0, result.output
    command, stop, said = result.output.splitlines()
    assert "command: 'Track the red mug.'" in command
    assert "STOP" in stop
    assert "stop: 'Stop" in said


def test_what_is_no_recording_is_one_message(tmp_path):
    result = run("speech", tmp_path / "absent.wav")
    assert result.exit_code == 1
    assert "does not exist" in result.output
    assert "Traceback" not in result.output


def test_settings_that_do_not_fit_are_one_message(say, tmp_path):
    write_wav(tmp_path / "spoken.wav", say("Stop!"))
    result = run("speech", tmp_path / "spoken.wav", "--listen", "sometimes")
    assert result.exit_code == 1
    assert "wanted one of always" in result.output


def test_the_benchmark_measures_and_writes(say, tmp_path):
    result = run("bench-speech", "--voices", 1, "--every", 24, "--minutes", 0, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "command errors under 10%" in result.output
    written = json.loads((tmp_path / "speech_bench.json").read_text("utf-8"))
    assert [line["ratio_db"] for line in written["lines"]] == [20, 10, 5]
    assert all(line["commands"] and line["others"] + line["stops"] for line in written["lines"])


def test_the_benchmark_has_forty_commands_and_twenty_other_sentences():
    assert len(set(bench_phrases.COMMANDS)) == 40
    assert len(set(bench_phrases.NON_COMMANDS)) == 20
    assert all(speech_bench.asked_for(text, shipped()) for text in bench_phrases.COMMANDS)


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("track the mug", "Track the mug.", 0),
        ("track the mug", "track mug now", 2),
        ("stop", "", 1),
        ("stop", "no stop", 1),
    ],
)
def test_word_errors_are_counted(said, heard, errors):
    assert speech_bench.word_errors(said, heard) == (errors, len(said.split()))


def test_another_colour_is_another_object():
    vocabulary = shipped()
    assert speech_bench.asked_for("Track the red mug.", vocabulary) == ["red", "mug"]
    assert speech_bench.asked_for("Grab that gray can", vocabulary) == speech_bench.asked_for(
        "the grey can", vocabulary
    )
    assert speech_bench.asked_for("the mug left of the pan", vocabulary) != speech_bench.asked_for(
        "mug right of pan", vocabulary
    )
