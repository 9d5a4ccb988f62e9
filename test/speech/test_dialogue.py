"""From words to commands: who is spoken to, how sure one is, and what has to be confirmed. No model."""

from __future__ import annotations

import pytest

from villa_ros.speech.dialogue import Dialogue, DialogueConfig, DialogueError, Verdict
from villa_ros.speech.recogniser import Recognition
from villa_ros.speech.vocabulary import shipped


def heard(text, confidence=0.9, no_speech=0.1, of_the_task=False):
    return Recognition(text, confidence, "en", no_speech, text, of_the_task)


class Talk:
    """Says one thing after the other, two seconds each."""

    def __init__(self, **config):
        self.dialogue = Dialogue(shipped(), DialogueConfig(**config))
        self.now_s = 0.0

    def __call__(self, text, held=False, wait_s=0.0, **fields):
        start_s = self.now_s + wait_s
        self.now_s = start_s + 2.0
        return self.dialogue.judge(heard(text, **fields), start_s, self.now_s, held=held)


def test_a_request_becomes_a_command_and_talk_does_not():
    talk = Talk()
    said = talk("Track the red mug.")
    assert (said.verdict, said.command) == (Verdict.COMMAND, "Track the red mug.")
    said = talk("I had a good weekend.")
    assert (said.verdict, said.command) == (Verdict.NO_COMMAND, "")


def test_anything_goes_where_it_was_asked_for_or_the_button_is_held():
    assert Talk(accept="anything")("It is what I pour milk from.").verdict is Verdict.COMMAND
    assert Talk()("It is what I pour milk from.", held=True).verdict is Verdict.COMMAND


def test_hallucinations_are_never_commands_not_even_with_the_button_held():
    for text in ("Thanks for watching!", "the mug the mug the mug the mug the mug"):
        assert Talk(accept="anything")(text, held=True).verdict is Verdict.HALLUCINATED
    assert Talk()("Track the red mug.", no_speech=0.95).verdict is Verdict.HALLUCINATED


def test_what_is_not_sure_enough_is_no_command():
    said = Talk(confidence_floor=0.5)("Track the red mug.", confidence=0.4)
    assert said.verdict is Verdict.UNSURE
    assert "0.40 is below 0.5" in said.reason


def test_a_stop_is_a_stop_however_unsure_and_whoever_is_spoken_to():
    for config in ({"listen": "push_to_talk"}, {"listen": "wake_word"}, {"confidence_floor": 1.0}, {}):
        assert Talk(**config)("Stop!", confidence=0.05, no_speech=0.9).verdict is Verdict.STOP


def test_without_the_button_nothing_is_for_the_robot():
    talk = Talk(listen="push_to_talk")
    assert talk("Track the red mug.").verdict is Verdict.NOT_ADDRESSED
    assert talk("Track the red mug.", held=True).verdict is Verdict.COMMAND


def test_the_wake_word_opens_a_command_and_is_no_part_of_it():
    talk = Talk(listen="wake_word")
    assert talk("Track the red mug.").verdict is Verdict.NOT_ADDRESSED
    said = talk("Hey, robot, track the red mug.")
    assert (said.verdict, said.command) == (Verdict.COMMAND, "track the red mug.")


def test_the_wake_word_alone_is_for_what_follows_soon():
    talk = Talk(listen="wake_word", awake_s=5.0)
    assert talk("Robot.").verdict is Verdict.AWAKE
    assert talk("Track the red mug.", wait_s=1.0).verdict is Verdict.COMMAND
    assert talk("Robot.").verdict is Verdict.AWAKE
    assert talk("Track the red mug.", wait_s=6.0).verdict is Verdict.NOT_ADDRESSED


def test_a_command_waits_for_a_yes_where_it_was_asked_for():
    talk = Talk(confirm="always")
    assert talk("Track the red mug.").verdict is Verdict.ASKED
    assert talk.dialogue.question == "Track the red mug."
    said = talk("Yes.")
    assert (said.verdict, said.command) == (Verdict.CONFIRMED, "Track the red mug.")
    assert talk("Yes.").verdict is Verdict.NO_COMMAND


def test_a_no_another_request_or_a_stop_ends_the_question():
    talk = Talk(confirm="always")
    talk("Track the red mug.")
    assert talk("No.").verdict is Verdict.DECLINED
    talk("Track the red mug.")
    assert talk("Track the blue mug.").command == "Track the blue mug."
    assert talk("Yes.").command == "Track the blue mug."
    talk("Track the red mug.")
    assert talk("Stop!").verdict is Verdict.STOP
    assert talk("Yes.").verdict is Verdict.NO_COMMAND


def test_a_question_is_not_open_forever():
    talk = Talk(confirm="always", awake_s=5.0)
    talk("Track the red mug.")
    assert not talk.dialogue.forget_question(talk.now_s + 4.0)
    assert talk("Yes.", wait_s=6.0).verdict is Verdict.NO_COMMAND
    talk("Track the red mug.")
    assert talk.dialogue.forget_question(talk.now_s + 6.0)
    with pytest.raises(DialogueError, match="no question is open"):
        talk.dialogue.answer(yes=True)


def test_only_the_unsure_is_asked_about_where_that_was_chosen():
    talk = Talk(confirm="unsure", confirm_below=0.6)
    assert talk("Track the red mug.", confidence=0.8).verdict is Verdict.COMMAND
    assert talk("Track the red mug.", confidence=0.5).verdict is Verdict.ASKED


def test_a_button_can_answer_too():
    talk = Talk(confirm="always")
    talk("Track the red mug.")
    assert talk.dialogue.answer(yes=True).command == "Track the red mug."
    talk("Track the red mug.")
    assert talk.dialogue.answer(yes=False).verdict is Verdict.DECLINED


def test_follow_ups_are_known_by_how_they_begin():
    talk = Talk()
    assert talk("Now the one behind it.").follow_up
    assert not talk("The one behind the mug.").follow_up


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(DialogueError, match="listen is 'sometimes'; wanted one of always, push_to_talk, wake_word"):
        DialogueConfig(listen="sometimes")
    with pytest.raises(DialogueError, match="wake_words is empty"):
        DialogueConfig(listen="wake_word", wake_words=("",))
