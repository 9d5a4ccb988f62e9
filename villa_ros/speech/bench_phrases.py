"""What the benchmark says: commands, what is no command, stops, and the voices, on which nothing is trained."""

from __future__ import annotations

import numpy as np

from villa_ros.speech.synthesis import Voice

COMMANDS = (
    "Keep an eye on the red mug.",
    "Track the blue ball.",
    "Follow the yellow banana.",
    "Show me the hammer.",
    "Find the green bottle.",
    "Where is the milk carton?",
    "Watch the black pan.",
    "Pick up the white plate.",
    "Look for the teddy bear.",
    "Get the loaf of bread.",
    "The orange next to the bowl.",
    "The leftmost mug.",
    "The biggest box on the table.",
    "Segment the purple vase.",
    "Point at the lemon.",
    "Grab the brown basket.",
    "Follow the gray can.",
    "Keep track of the pink cup.",
    "Show me all the apples.",
    "Track both mugs.",
    "Find something to drink from.",
    "Find the mug that is not red.",
    "Watch the ball behind the box.",
    "I need the frying pan.",
    "Bring me the coffee mug.",
    "Track the white bowl in the front.",
    "Look at the yellow duck.",
    "Hand me the blue book.",
    "Where did the green block go?",
    "Which one is the smallest bottle?",
    "Select the jar on the right.",
    "Find the cereal box.",
    "Show me the tray under the cup.",
    "Don't lose the red ball.",
    "Highlight the black hammer.",
    "Watch the moka pot.",
    "Follow the orange carton.",
    "Give me the rubber duck.",
    "Locate the white cylinder.",
    "Now the one behind it.",
)

NON_COMMANDS = (
    "Thanks for watching.",
    "I had a really good weekend.",
    "The weather is nice today.",
    "She said she would call back later.",
    "We should order some lunch.",
    "Did you see the game last night?",
    "My brother lives in Chicago.",
    "That meeting took forever.",
    "I think it is about to rain.",
    "He bought a new car last month.",
    "Yeah, I know what you mean.",
    "The printer is out of paper again.",
    "Let's talk about it tomorrow.",
    "It was a long drive from the airport.",
    "They moved to a bigger house.",
    "My coffee is getting cold.",
    "Please subscribe to my channel.",
    "We met at the bus stop.",
    "I like the colour of your shirt.",
    "The robot was expensive.",
)

STOPS = (
    "Stop!",
    "Stop.",
    "Stop it.",
    "Stop now.",
    "Please stop.",
    "Stop tracking.",
    "Halt!",
    "Abort.",
    "Cancel that.",
    "Freeze!",
    "Never mind.",
    "Stop, stop, stop!",
)

VOICES = (
    Voice("en-us", 155, 50),
    Voice("en-gb", 165, 40),
    Voice("en-us+f2", 160, 55),
    Voice("en-gb-x-rp+f4", 150, 60),
    Voice("en-gb-scotland+m3", 155, 45),
)

_WHO = ("My neighbour", "The manager", "Our teacher", "Her cousin", "The driver", "That student", "Your friend", "Sam")
_DID = ("walked to the top of", "opened a shop near", "started working at", "bought stock from", "spotted a bird over",
        "stepped out of", "told a story about", "stayed in", "shopped around", "stood on top of", "talked about",
        "drove past", "stored boxes in", "painted", "complained about", "wrote about")  # fmt: skip
_WHAT = ("the old station", "the top floor", "a small town", "the new store", "the stock market", "the chop house",
         "the garden", "the hotel", "the museum", "the workshop", "the harbour", "the office", "the pool")  # fmt: skip
_WHEN = ("last year", "on Monday", "before breakfast", "with his brother", "for three weeks", "because it was raining",
         "while we were away", "after the party", "as usual", "and nobody noticed")  # fmt: skip


def talk(rng: np.random.Generator) -> str:
    """One to three sentences that ask for nothing."""
    count = int(rng.integers(1, 4))
    parts = [" ".join(str(rng.choice(part)) for part in (_WHO, _DID, _WHAT, _WHEN)) for _ in range(count)]
    return ". ".join(parts) + "."
