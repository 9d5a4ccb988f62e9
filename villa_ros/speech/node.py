"""The speech node: sound in, commands out. What an utterance means is decided in `villa_ros.speech`."""

from __future__ import annotations

import itertools
import math
import secrets
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from std_msgs.msg import Float32, String
from std_srvs.srv import SetBool

from villa_msgs.msg import Command, RequestStatus
from villa_ros.conversions.events import nanoseconds, rclpy_types
from villa_ros.runtime import qos
from villa_ros.runtime.diagnostic_status import ERROR, OK, WARN, Finding, status
from villa_ros.runtime.guarded_callbacks import GuardedCallbacks
from villa_ros.runtime.model_loading import limit_threads
from villa_ros.runtime.parameter_table import ParameterError
from villa_ros.runtime.ros_process import spin
from villa_ros.speech import messages, parameters
from villa_ros.speech.audio import Sound, SoundError, read_wav
from villa_ros.speech.ctc_model import CtcModelError
from villa_ros.speech.dialogue import Dialogue, DialogueError, Utterance, Verdict
from villa_ros.speech.listener import Listener, SpokenStop
from villa_ros.speech.microphone import Microphone, MicrophoneError
from villa_ros.speech.playback import Playback
from villa_ros.speech.recogniser import Recogniser, Recognition
from villa_ros.speech.stop_phrases import is_spoken_stop
from villa_ros.speech.voice_activity import VoiceActivity, VoiceActivityError, silero
from villa_ros.speech.whisper import Whisper, WhisperError
from villa_ros.speech.worker import SpeechWorker, Told

if TYPE_CHECKING:
    from villa_ros.speech.parameters import SpeechParameters

CANNOT_START = (
    ParameterError, WhisperError, VoiceActivityError, CtcModelError, MicrophoneError, SoundError, DialogueError,
    ParameterException, ImportError,
)  # fmt: skip
CONVERSATION = "speech"  # follow-ups refer to what was said before, not to what was typed
_TICK_S = 1.0
_LOG_PERIOD_S = 5.0


class SpeechNode(GuardedCallbacks):
    """Microphone, audio topic, WAV file or another recogniser in; commands for a villa node out (docs/speech.md).

    Raises:
        One of `CANNOT_START`: something to hear with is missing, or parameters do not fit.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("villa_speech", **node_options)
        parameters.declare(self)
        self._chosen: SpeechParameters = parameters.read(self)
        self._dialogue = Dialogue(self._chosen.vocabulary(), self._chosen.dialogue())
        nonce = secrets.token_hex(4)
        self._new_request_id = (f"speech-{nonce}-{count}" for count in itertools.count(1))
        self._asked_id, self._asked_ns = "", 0
        self._counts: Counter[str] = Counter()
        self._latency_s = math.nan
        self._last_error = ""
        self._unheard = ""  # what was said last, if nobody listened
        self._faults: set[str] = set()  # the callbacks that raised

        target = self._chosen.villa_node.rstrip("/")
        self._commands = self.create_publisher(Command, f"{target}/command", qos.commands())
        self._stops = self.create_publisher(Command, f"{target}/stop", qos.commands())
        self._transcripts = self.create_publisher(String, messages.TRANSCRIPT, qos.results())
        self._statuses = self.create_publisher(RequestStatus, messages.STATUS, qos.results())
        self._latencies = self.create_publisher(Float32, messages.LATENCY, qos.results())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.diagnostics())
        self.create_service(SetBool, messages.CONFIRM, self._on_confirm)
        self._worker: SpeechWorker | None = None
        self._source: Microphone | Playback | None = None
        if self._chosen.source == "live_speech":
            self._open_live_speech()
        else:
            self._open_sound()
        self.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"listening to {self._chosen.source}; commands go to {self._commands.topic_name}")

    # Sound

    def _open_sound(self) -> None:
        chosen = self._chosen
        limit_threads(chosen.threads)
        recogniser = Recogniser(
            Whisper(Path(chosen.model) if chosen.model else None, chosen.language, chosen.threads),
            chosen.vocabulary(),
            rescore=chosen.rescore,
            prompt=chosen.prompt,
        )
        ear = VoiceActivity(silero(), chosen.vad_threshold, chosen.end_silence_s, chosen.longest_s)
        self._worker = SpeechWorker(ear, Listener(recogniser, self._dialogue), self._told, self._failed)
        self.create_service(SetBool, messages.TALK, self._on_talk)
        if chosen.source == "microphone":
            self._source = Microphone(chosen.device, self._heard_now, self._failed)
        elif chosen.source == "wav":
            self._source = Playback(read_wav(Path(chosen.wav)), self._heard_now, chosen.wav_delay_s)
        else:
            message = rclpy_types().cls(chosen.audio_type.replace("/", "/msg/"))
            self.create_subscription(
                message, "audio", self._on_audio, qos.commands(), qos_overriding_options=qos.overridable()
            )

    def _heard_now(self, sound: Sound) -> None:
        assert self._worker is not None
        self._worker.offer(sound, self.get_clock().now().nanoseconds)

    def _on_audio(self, message: Any) -> None:
        try:
            sound = messages.sound_from_message(message, self._chosen.audio_rate_hz, self._chosen.audio_channels)
        except SoundError as error:
            self._failed(error)
            return
        self._heard_now(sound)

    def _open_live_speech(self) -> None:
        from hri_msgs.msg import LiveSpeech

        self._stopped = False  # a stop was sent for the utterance that is going on
        self.create_subscription(
            LiveSpeech, "live_speech", self._on_live_speech, qos.results(), qos_overriding_options=qos.overridable()
        )

    def _on_live_speech(self, message: Any) -> None:
        now_ns = self.get_clock().now().nanoseconds
        end_ns = nanoseconds(message.header.stamp) or now_ns
        heard = messages.heard_from_live_speech(message, self._chosen.language)
        if is_spoken_stop(heard.text) and not self._stopped:
            self._stopped = True
            self._told(Told(SpokenStop(heard, 0.0, end_ns / 1e9), end_ns))
        if message.final:
            self._stopped = False
            self._told(Told(self._dialogue.judge(heard, end_ns / 1e9, end_ns / 1e9), end_ns))

    # What was said

    def _told(self, told: Told) -> None:
        latency_s = (self.get_clock().now().nanoseconds - told.end_ns) / 1e9
        if isinstance(told.event, SpokenStop):
            self._send(told.event.heard, Command.STOP_ALL, told.event.heard.text, told.end_ns, latency_s)
            self._counts["stop"] += 1
            return
        utterance = told.event
        if utterance.verdict in (Verdict.COMMAND, Verdict.CONFIRMED):
            self._carry_out(utterance, told.end_ns, latency_s)
        elif utterance.verdict is Verdict.ASKED:
            self._close_question("another utterance came")
            self._asked_id, self._asked_ns = next(self._new_request_id), told.end_ns
            text = f'did you mean "{utterance.command}"? Say yes or no'
            self._tell(self._asked_id, RequestStatus.QUEUED, text)
        elif utterance.verdict is Verdict.DECLINED:
            self._close_question("not meant")
        self._counts[utterance.verdict.value] += 1
        self._transcripts.publish(String(data=messages.transcript(utterance, self._locale(utterance.heard), latency_s)))

    def _carry_out(self, utterance: Utterance, end_ns: int, latency_s: float) -> None:
        action = Command.FOLLOW_UP if utterance.follow_up else Command.SEGMENT
        request_id, self._asked_id = self._asked_id, ""
        self._send(utterance.heard, action, utterance.command, end_ns, latency_s, request_id)

    def _send(
        self, heard: Recognition, action: int, text: str, end_ns: int, latency_s: float, request_id: str = ""
    ) -> None:
        command = Command(
            action=action,
            text=text,
            request_id=request_id,
            conversation_id=CONVERSATION,
            locale=self._locale(heard),
            confidence=heard.confidence,
            camera=self._chosen.camera,
            track=self._chosen.track,
        )
        command.header.stamp.sec, command.header.stamp.nanosec = divmod(end_ns, 10**9)
        publisher = self._stops if action == Command.STOP_ALL else self._commands
        publisher.publish(command)
        self._unheard = ""
        if not publisher.get_subscription_count():  # it is not repeated: it would come late
            self._counts["unheard"] += 1
            self._unheard = f"{text!r} was said, and nobody listens on {publisher.topic_name}: is the node active?"
            self.get_logger().error(self._unheard)
        self._latency_s = latency_s
        self._latencies.publish(Float32(data=latency_s))
        self.get_logger().info(f"{text!r} sent {latency_s:.2f} s after it was said")

    def _locale(self, heard: Recognition) -> str:
        return self._chosen.locale or heard.language

    def _tell(self, request_id: str, state: int, message: str) -> None:
        told = RequestStatus(request_id=request_id, state=state, message=message)
        told.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(told)

    def _close_question(self, why: str) -> None:
        if self._asked_id:
            self._tell(self._asked_id, RequestStatus.CANCELED, why)
            self._asked_id = ""

    # Services

    def _on_talk(self, request: Any, response: Any) -> Any:
        assert self._worker is not None
        self._worker.hold(request.data)
        response.success, response.message = True, "listening" if request.data else "done listening"
        return response

    def _on_confirm(self, request: Any, response: Any) -> Any:
        try:
            utterance = self._dialogue.answer(yes=request.data)
        except DialogueError as error:
            response.success, response.message = False, str(error)
            return response
        self._told(Told(utterance, self._asked_ns))
        response.success, response.message = True, utterance.command or "not carried out"
        return response

    # Health

    def fault(self, name: str, error: Exception) -> None:
        """Log and count what a callback raised: with its place at first, and no more than a line now and then."""
        if name not in self._faults:
            self.get_logger().error(f"{name}:\n{traceback.format_exc()}")
        self._faults.add(name)
        self._failed(error, f"{name}: ")

    def _failed(self, error: Exception, where: str = "") -> None:
        self._counts["errors"] += 1
        self._last_error = f"{where}{type(error).__name__}: {error}"
        self.get_logger().error(self._last_error, throttle_duration_sec=_LOG_PERIOD_S)

    def _tick(self) -> None:
        now_s = self._worker.now_s if self._worker else self.get_clock().now().nanoseconds / 1e9
        if self._dialogue.forget_question(now_s):
            self._close_question("nobody said yes")
        dropped_s = self._worker.dropped_s if self._worker else 0.0
        level, message = OK, "listening"
        if self._last_error:
            level, message = ERROR, self._last_error
        elif self._unheard:
            level, message = ERROR, self._unheard
        elif dropped_s:
            level, message = WARN, "the recogniser does not keep up: sound is lost"
        values = {"source": self._chosen.source, "latency_s": self._latency_s, "dropped_s": dropped_s, **self._counts}
        line = status(f"{self.get_name()}: speech", self.get_fully_qualified_name(), Finding(level, message, values))
        array = DiagnosticArray(status=[line])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def close(self) -> bool:
        """Stop listening; False: the recogniser is still at work."""
        if self._source is not None:
            self._source.close()
        if self._worker is not None and not self._worker.close():
            self.get_logger().warning("the recogniser is still at work; what it hears will be discarded")
            return False
        return True


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of `villa_speech`: run until SIGINT or SIGTERM; exit code 2 where it cannot start."""
    return spin("villa_speech", SpeechNode, CANNOT_START, args)


if __name__ == "__main__":
    sys.exit(main())
