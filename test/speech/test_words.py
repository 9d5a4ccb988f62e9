"""What is a stop, a hallucination, a request; and which sentences sound like what was heard. No model."""

from __future__ import annotations

import pytest

from villa_ros.speech.command_grammar import CommandGrammar
from villa_ros.speech.filters import has_the_form_of_a_command, is_hallucinated, repeats_itself
from villa_ros.speech.phonemes import sounds
from villa_ros.speech.stop_phrases import SPOKEN_STOPS, is_spoken_stop
from villa_ros.speech.vocabulary import VocabularyError, of_objects, shipped, words


@pytest.mark.parametrize(
    "text",
    [*SPOKEN_STOPS, "Robot, stop!", "No, no, stop.", "Okay stop now", "Stop! I said that was enough.",
     "Stop the robot.", "Stop tracking the red mug.",
     "Stopp!", "Arrête!", "Para.", "停止"],
)  # fmt: skip
def test_stops_are_known_with_whatever_people_put_around_them(text):
    assert is_spoken_stop(text)


@pytest.mark.parametrize(
    "text",
    ["We met at the bus stop.", "Don't stop.", "Stop by the shop later.", "He said never mind, and left.",
     "Start.", "Top shelf.", "", "Please.",
     "Track."],
)  # fmt: skip
def test_other_speech_is_no_stop(text):
    assert not is_spoken_stop(text)


@pytest.mark.parametrize(
    "text", ["Thanks for watching!", "Thank you.", "Please subscribe to my channel.", "you", "Bye bye.", "[Music]"]
)
def test_what_recognisers_make_of_silence_is_known(text):
    assert is_hallucinated(text)


@pytest.mark.parametrize("text", ["Thank the red mug.", "Watch the music box.", "Track the red mug."])
def test_requests_are_not_taken_for_hallucinations(text):
    assert not is_hallucinated(text)


def test_loops_are_known_and_short_repetitions_are_none():
    assert repeats_itself("keep an eye on the red mug, " * 6)
    assert repeats_itself("the the the the the")
    assert not repeats_itself("Stop, stop, stop!")
    assert not repeats_itself("The mug next to the mug on the left.")


@pytest.mark.parametrize(
    "text",
    ["Track the red mug.", "Could you hand me that thing?", "The leftmost mug.", "The orange next to the bowl.", "Mug!",
     "Something to drive a nail with."],
)  # fmt: skip
def test_requests_have_the_form_of_a_request(text):
    assert has_the_form_of_a_command(text, "en", shipped())


@pytest.mark.parametrize(
    "text",
    ["I had a good weekend.", "The box arrived yesterday.", "My coffee is getting cold.", "We should order lunch.",
     "She put the bread in the oven.", "The robot was expensive."],
)  # fmt: skip
def test_talk_has_not(text):
    assert not has_the_form_of_a_command(text, "en", shipped())


def test_requests_are_known_in_other_languages():
    assert has_the_form_of_a_command("Verfolge die rote Tasse.", "de", shipped())
    assert has_the_form_of_a_command("Où est la tasse rouge?", "fr", shipped())
    assert not has_the_form_of_a_command("Das Wetter ist schön.", "de", shipped())


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ("Keep a high on the red mud", "keep an eye on the red mug"),
        ("Find the Dream portal", "find the green bottle"),
        ("Where is the milk garden?", "where is the milk carton"),
        ("Watch the black pen", "watch the black pan"),
        ("The left lost mugs", "the leftmost mugs"),
        ("Find the mug that is not bread", "find the mug that is not red"),
    ],
)
def test_the_sentence_that_was_said_is_among_the_nearest(heard, said):
    assert said in CommandGrammar(shipped()).nearest([heard], 40)


def test_nothing_sounds_like_silence():
    assert CommandGrammar(of_objects(["mug"])).nearest(["", "..."], 5) == []


def test_things_of_ones_own_are_found():
    grammar = CommandGrammar(of_objects(["torque wrench"]))
    assert "track the torque wrench" in grammar.nearest(["Track the talk ranch"], 20)


def test_spelling_does_not_matter_to_sound():
    assert sounds("phone") == sounds("fone")
    assert sounds("knight") == sounds("nite")
    assert words("Grey, colour: DON\N{RIGHT SINGLE QUOTATION MARK}T") == ["gray", "color", "don't"]


def test_names_without_a_word_are_refused():
    with pytest.raises(VocabularyError, match="holds no word"):
        of_objects(["mug", "?"])
