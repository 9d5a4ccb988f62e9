"""Sentences around the words for a thing: how people ask a robot, in words for training and in others kept for tests.

Templates hold `{np}` (a noun phrase with its article), `{verb}`, `{n}` (a noun) or `{c}` (a colour). No sentence of
`HELD_OUT` occurs in `TRAINED`: what a model makes of it, it did not learn by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wording:
    """Everything that is said around nouns and colours."""

    verbs: tuple[str, ...]
    commands: tuple[str, ...]
    questions_one: tuple[str, ...]
    questions_many: tuple[str, ...]
    some: tuple[str, ...]  # for what any of several things may serve
    relations: Mapping[str, tuple[str, ...]]  # of villa.data.language.spatial_relations
    nearest: tuple[str, ...]
    between: tuple[str, ...]  # with {a} and {b}
    extremes: Mapping[str, tuple[str, ...]]
    coloured: tuple[str, ...]  # beside plain "{c} {n}"
    made_of: tuple[str, ...]  # with {m}, a material
    not_coloured: tuple[str, ...]
    every: tuple[str, ...]  # with {ns}, or {n} for single words
    some_of: tuple[str, ...]  # where several are meant
    both: tuple[str, ...]
    happened: Mapping[str, tuple[str, ...]]  # what is said of a {n} that a happening singles out
    what_happened: Mapping[str, tuple[str, ...]]  # whole requests that name no thing
    further: Mapping[str, tuple[str, ...]]  # follow-ups, by what they add
    uses: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)  # requests, phrases
    bare: bool = True  # may a thing be named without a sentence around it?
    before: tuple[str, ...] = ()  # what some people say before a request,
    after: tuple[str, ...] = ()  # and behind it


TRAINED = Wording(
    verbs=(
        "track",
        "follow",
        "find",
        "segment",
        "show me",
        "point at",
        "point to",
        "keep your eyes on",
        "keep an eye on",
        "look at",
        "watch",
        "pick up",
        "grab",
        "go to",
        "give me",
        "hand me",
        "pass me",
        "bring me",
        "fetch",
        "get",
        "take",
        "locate",
        "highlight",
        "mark",
        "select",
        "outline",
        "detect",
        "focus on",
        "keep sight of",
        "stay on",
        "search for",
        "look for",
        "reach for",
        "move to",
        "lock on to",
    ),
    commands=(
        "{verb} {np}",
        "{verb} {np}",
        "{verb} {np}",
        "please {verb} {np}",
        "{verb} {np} please",
        "{verb} {np} for me",
        "can you {verb} {np}",
        "could you {verb} {np}",
        "could you please {verb} {np}",
        "would you {verb} {np}",
        "I want you to {verb} {np}",
        "I'd like you to {verb} {np}",
        "I need you to {verb} {np}",
        "robot, {verb} {np}",
        "hey robot, {verb} {np}",
        "now {verb} {np}",
        "okay, {verb} {np}",
        "next, {verb} {np}",
        "try to {verb} {np}",
        "just {verb} {np}",
    ),
    questions_one=(
        "where is {np}",
        "where's {np}",
        "do you see {np}",
        "can you see {np}",
        "which one is {np}",
        "can you tell me where {np} is",
        "what about {np}",
        "where can I find {np}",
    ),
    questions_many=(
        "where are {np}",
        "do you see {np}",
        "can you see {np}",
        "which ones are {np}",
        "can you tell me where {np} are",
    ),
    some=(
        "I need {np}",
        "I want {np}",
        "is there {np}",
        "is there {np} here",
        "do you see {np}",
        "find {np}",
        "find me {np}",
        "get me {np}",
        "show me {np}",
        "bring me {np}",
        "look for {np}",
        "please find {np}",
        "can you find {np}",
        "I am looking for {np}",
        "I could use {np}",
        "hand me {np}",
    ),
    relations={
        "left of": ("left of", "to the left of", "on the left of", "on the left side of"),
        "right of": ("right of", "to the right of", "on the right of", "on the right side of"),
        "behind": ("behind", "in back of"),
        "in front of": ("in front of", "just in front of"),
        "next to": ("next to", "beside", "close to", "right by", "by"),
    },
    nearest=("nearest to", "closest to", "nearest"),
    between=("between the {a} and the {b}", "in between the {a} and the {b}", "in the middle of the {a} and the {b}"),
    extremes={
        "leftmost": ("leftmost {n}", "{n} on the far left", "{n} furthest left"),
        "rightmost": ("rightmost {n}", "{n} on the far right", "{n} furthest right"),
        "closest": ("{n} closest to you", "nearest {n}", "{n} closest to the camera"),
        "farthest": ("{n} farthest away", "most distant {n}", "{n} in the back"),
        "biggest": ("biggest {n}", "largest {n}", "{n} that is bigger than the others"),
        "smallest": ("smallest {n}", "tiniest {n}", "{n} that is smaller than the others"),
    },
    coloured=("{n} that is {c}", "{c} coloured {n}"),
    made_of=("{m} {n}", "{n} made of {m}"),
    not_coloured=("{n} that is not {c}", "{n} that isn't {c}"),
    every=("all the {ns}", "all {ns}", "every {n}", "each {n}", "all of the {ns}"),
    some_of=("the {ns}", "the {number} {ns}"),
    both=("both {ns}", "both of the {ns}"),
    happened={
        "fell": ("{n} that fell", "{n} that dropped", "{n} that fell down", "{n} that just dropped onto the table"),
        "moved": ("{n} that moved", "{n} that is moving", "{n} that changed its place"),
        "first": ("{n} that moved first", "{n} that started to move first", "first {n} to move"),
        "last": ("{n} that moved last", "{n} that started to move last", "last {n} to move"),
        "still": ("{n} that did not move", "{n} that stayed where it was", "{n} that never moved"),
        "lifted": ("{n} that was lifted", "{n} that was picked up", "{n} that went up into the air"),
        "arm": ("{n} that the arm pushed", "{n} the robot arm moved", "{n} the arm touched"),
        "hidden": ("{n} that was hidden", "{n} that disappeared for a while", "{n} that was covered"),
        "behind": ("{n} that was behind the {a}", "{n} that went behind the {a}", "{n} that was hidden by the {a}"),
    },
    what_happened={
        "fell": ("what fell", "what just fell down", "which one fell", "something fell, which one was it"),
        "moved": ("what moved", "what is moving", "which one moved", "something moved, what was it"),
        "first": ("what moved first", "which one moved first", "what was the first to move"),
        "last": ("what moved last", "which one moved last", "what was the last to move"),
        "lifted": ("what was lifted", "what was picked up", "which one was in the air"),
        "arm": ("what did the arm push", "which one did the arm move", "what was pushed by the robot arm"),
        "hidden": ("what was hidden", "which one disappeared", "what was out of sight for a while"),
        "behind": ("what was behind the {a}", "what went behind the {a}", "which one hid behind the {a}"),
    },
    further={
        "relation": ("now the one {r} it", "what is {r} it", "and the one {r} it", "what about the thing {r} it"),
        "other": ("the other one", "now the other one", "and the other {n}", "no, the other {n}"),
        "colour": ("and the {c} one", "now the {c} one", "what about the {c} one", "no, the {c} one"),
        "thing": ("and the {np}", "now the {np}", "what about the {np}", "okay, and where is the {np}"),
    },
)

HELD_OUT = Wording(
    verbs=(
        "zoom in on",
        "stay with",
        "identify",
        "spot",
        "pay attention to",
        "concentrate on",
        "monitor",
        "circle",
        "put a mask on",
        "lift",
        "deliver",
        "hold on to",
        "turn towards",
        "collect",
    ),
    commands=(
        "{verb} {np} right away",
        "kindly {verb} {np}",
        "be so nice and {verb} {np}",
        "your task is to {verb} {np}",
        "I would like to have you {verb} {np}",
        "let's {verb} {np}",
        "time to {verb} {np}",
        "how about you {verb} {np}",
        "would you mind and {verb} {np}",
        "go ahead and {verb} {np}",
        "machine, {verb} {np} if you can",
        "from here on {verb} {np}",
    ),
    questions_one=(
        "any idea where {np} went",
        "in which spot is {np}",
        "is {np} anywhere in your view",
        "whereabouts is {np}",
        "what is the position of {np}",
        "have you got {np} in sight",
    ),
    questions_many=(
        "any idea where {np} went",
        "are {np} anywhere in your view",
        "whereabouts are {np}",
        "have you got {np} in sight",
    ),
    some=(
        "I was hoping for {np}",
        "have we got {np}",
        "somebody asked for {np}",
        "my hands are full, get hold of {np}",
        "point out {np}",
        "there should be {np} around",
        "I can't seem to find {np}",
        "is {np} around",
        "what I am after is {np}",
    ),
    relations={
        "left of": ("on the left hand side of", "that sits left from", "standing to the left of"),
        "right of": ("on the right hand side of", "that sits right from", "standing to the right of"),
        "behind": ("at the back of", "further back than", "standing behind"),
        "in front of": ("before", "nearer to us than", "standing in front of"),
        "next to": ("alongside", "right next to", "adjacent to", "at the side of"),
    },
    nearest=("with the least distance to", "that is nearer than anything else to"),
    between=("with the {a} on one side and the {b} on the other", "that separates the {a} from the {b}"),
    extremes={
        "leftmost": ("{n} at the left end", "{n} that is more to the left than all others"),
        "rightmost": ("{n} at the right end", "{n} that is more to the right than all others"),
        "closest": ("{n} that is within easiest reach", "{n} right in front of your lens"),
        "farthest": ("{n} at the very back", "{n} that is hardest to reach"),
        "biggest": ("bulkiest {n}", "{n} that takes up most room"),
        "smallest": ("littlest {n}", "{n} that takes up least room"),
    },
    coloured=("{n} in {c}", "{n} with {c} for its colour"),
    made_of=("{n} out of {m}", "{n} manufactured from {m}"),
    not_coloured=("{n} in any colour but {c}", "{n} whose colour differs from {c}"),
    every=("the whole lot of {ns}", "any {n} there is", "the {ns} without exception"),
    some_of=("those {ns}", "these {ns}"),
    both=("the pair of {ns}", "the two {ns} together"),
    happened={
        "fell": ("{n} that came down from above", "{n} that landed on the table"),
        "moved": ("{n} that did not stay put", "{n} in motion"),
        "first": ("{n} that got going before the rest", "{n} that set off earliest"),
        "last": ("{n} that got going after the rest", "{n} that set off latest"),
        "still": ("{n} that kept its place", "{n} nobody touched"),
        "lifted": ("{n} that left the table for a moment", "{n} that was raised"),
        "arm": ("{n} that got shoved by the robot", "{n} the gripper slid along"),
        "hidden": ("{n} we lost sight of", "{n} that vanished and came back"),
        "behind": ("{n} that the {a} concealed", "{n} that passed at the back of the {a}"),
    },
    what_happened={
        "fell": ("did anything come down from above", "tell me what landed on the table"),
        "moved": ("what did not stay put", "tell me what is in motion"),
        "first": ("what got going before the rest", "tell me what set off earliest"),
        "last": ("what got going after the rest", "tell me what set off latest"),
        "lifted": ("what left the table for a moment", "tell me what was raised"),
        "arm": ("what got shoved by the robot", "tell me what the gripper slid along"),
        "hidden": ("what did we lose sight of", "tell me what vanished and came back"),
        "behind": ("what did the {a} conceal", "tell me what passed at the back of the {a}"),
    },
    further={
        "relation": ("then take whatever is {r} that", "whatever is {r} that one, please"),
        "other": ("I meant its twin", "not this one, its twin"),
        "colour": ("rather the one in {c}", "I meant the {c} version"),
        "thing": ("switch over to the {np}", "then there is the {np}, go on with that"),
    },
    uses={
        "drink": (("my tea is ready, what goes with it", "pour me a hot chocolate into it"), ("a vessel to sip from",)),
        "eat_from": (("dinner is served, what do I put it in",), ("some crockery for my meal", "a thing to dine off")),
        "pour": (("my glass is empty, what do I refill it from",), ("a container with a beverage in it",)),
        "read": (("the child wants a bedtime story",), ("some literature", "a novel or the like")),
        "fry": (("breakfast is going to be omelette",), ("cookware for an omelette", "a thing to sear a steak in")),
        "boil": (("spaghetti tonight, what do they cook in",), ("cookware for a soup",)),
        "make_coffee": (("I can't wake up without an espresso, what makes one",), ("the machine for espresso",)),
        "carry": (("apples have to go from here to the kitchen, in what",), ("a thing to haul groceries in",)),
        "serve": (("the guests want their drinks brought, on what",), ("a surface to bring drinks on",)),
        "flowers": (("I was given a bouquet",), ("a home for a bouquet",)),
        "stack": (("the kid wants to construct a castle",), ("toys to construct with",)),
        "play_ball": (("let us toss something back and forth",), ("a thing that can be tossed and rolls",)),
        "eat_fruit": (("the doctor says more vitamins, and sweet ones",), ("a sweet vitamin snack",)),
        "eat": (("my stomach is rumbling",), ("a bite to eat", "food of some sort")),
        "sour": (("my cocktail lacks acidity",), ("an ingredient that makes a face pucker",)),
        "toy": (("the toddler cannot sleep without its plush friend",), ("a plaything in animal shape",)),
        "nail": (("this picture needs to be hung up, what drives the pin in",), ("equipment to drive pins in",)),
        "tidy": (("these pencils lie all over the place",), ("storage for pencils",)),
    },
    bare=False,  # bare names are the same in any words
)
