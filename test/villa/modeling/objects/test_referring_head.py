"""The referring head: what a request is about is found from its words, taught by many requests, and shown once more."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_model
from torch.nn import functional as F

from villa.checkpoints.checkpoint import load, save
from villa.data.clips import ClipReader
from villa.data.language.requests import sample_requests
from villa.data.language.wordings import TRAINED
from villa.inference.answering import encode_clip, focused, prompt_about
from villa.interface import ClipFrame, finish
from villa.modeling import packed_forward
from villa.modeling.objects.detector import Proposals
from villa.modeling.objects.referring_head import (
    ANCHOR,
    CANDIDATE,
    MOST_TARGETS,
    RARE,
    TARGET,
    chosen,
    from_left,
    in_order,
    marks,
    once_each,
    tokens_of,
)
from villa.modeling.objects.relation_encoder import EncodedScene
from villa.modeling.objects.seg_selector import Words
from villa.training.batches import Feed, FeedConfig
from villa.training.feature_cache import FeatureCache, eyes_of
from villa.training.referring_loss import SegTargets, focus_loss, hits_of, lessons_of, owners, wordless
from villa.training.train import TrainConfig, train

FRAMES, THINGS = 3, 6
SEG = 7
NOTHING_MEANT = torch.full((FRAMES, THINGS), -5.0)


@pytest.fixture(scope="module")
def model():
    model = tiny_model().requires_grad_(False).eval()
    torch.nn.init.normal_(model.focus.reader.enter_in_context.weight)  # as if trained: it begins at zero
    return model


def _things() -> Proposals:
    generator = torch.Generator().manual_seed(1)
    boxes = torch.rand(FRAMES, THINGS, 4, generator=generator) * 0.4 + 0.2
    return Proposals(torch.randn(FRAMES, THINGS, 24, generator=generator), boxes, torch.full((FRAMES, THINGS), 6.0))


@pytest.fixture
def scene(model) -> EncodedScene:
    proposals = _things()
    prompts = model.language.finder.prompts(proposals.features, proposals.boxes)
    return model.language.scene(proposals, prompts, torch.tensor([1.0, 0.5, 0.0]))


def _linked(scene: EncodedScene, pairs: list[tuple[int, int]]) -> EncodedScene:
    links = torch.full_like(scene.links, -3.0)
    for a, b in pairs:
        links[a, b] = links[b, a] = 3.0
    return replace(scene, links=links)


# -- reading a request -----------------------------------------------------------------------------------------------


def test_a_request_is_read_as_it_is_whatever_else_is_asked(model, scene):
    short, long = (model.codec.request_ids(text) for text in ("the mug", "the mug that is left of the red box, please"))
    together = model.roles([short, long], scene)
    assert together.shape == (2, FRAMES, THINGS, 3)
    torch.testing.assert_close(together[:1], model.roles([short], scene), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_the_order_of_words_matters(model, scene):
    ids = model.codec.request_ids("the mug left of the box")
    ahead, back = model.roles([ids, ids[::-1]], scene)
    assert not torch.allclose(ahead, back, atol=1e-3)


def test_the_language_models_first_layers_read_as_they_do_when_it_answers(model):
    embeds = torch.randn(2, 7, model.language.width, generator=torch.Generator().manual_seed(3))
    out = model.language.llama(inputs_embeds=embeds, output_hidden_states=True)
    assert torch.allclose(model.language.early(embeds, 1), out.hidden_states[1], atol=1e-5)


def test_what_a_word_means_in_its_company_counts(scene):
    model = tiny_model().requires_grad_(False).eval()
    before = model.refer([(3, 4, 5)], scene)
    model.language.llama.layers[0].mlp.down_proj.weight.mul_(2.0)
    assert torch.equal(model.refer([(3, 4, 5)], scene), before), "nothing counts before it is trained"
    torch.nn.init.normal_(model.focus.reader.enter_in_context.weight)
    heard = model.refer([(3, 4, 5)], scene)
    model.language.llama.layers[0].mlp.down_proj.weight.mul_(2.0)
    assert not torch.allclose(model.refer([(3, 4, 5)], scene), heard)
    model.language.llama.layers[1].mlp.down_proj.weight.mul_(2.0)  # deeper than the reader hears
    deeper = model.refer([(3, 4, 5)], scene)
    model.language.llama.layers[1].mlp.down_proj.weight.mul_(0.0)
    assert torch.equal(model.refer([(3, 4, 5)], scene), deeper)


def test_a_word_fits_the_thing_whose_token_lies_near_it(model):
    matching = model.focus.matching
    width = matching.of_thing.in_features
    mug, ham, mer = torch.eye(48)[:3]
    words = Words.of([torch.stack((torch.ones(48), mug)), torch.stack((torch.ones(48), ham, mer))])
    read = Words(torch.zeros(2, 3, width), words.spoken)
    tokens = torch.stack((mug, F.normalize(ham + mer, dim=0)))
    seen: list[torch.Tensor] = []
    hook = matching.out.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    fit = matching(torch.zeros(2, width), tokens, words, read)
    hook.remove()
    assert fit.shape == (2, 2, width)
    one, two = seen[0][..., -6], seen[0][..., -4]  # the best place, of one token and of two
    assert one[0].argmax() == 0
    assert two[1].argmax() == 1
    assert float(two[1, 1]) > float(one[1, 1])  # a noun in two pieces is only whole with both
    assert float(two[1, 1]) == pytest.approx(4.0, abs=1e-4)


def test_what_is_hardly_a_thing_is_not_meant(model, scene):
    scores = scene.proposals.scores.clone()
    scores[1, 2] = -30.0
    doubtful = replace(scene, proposals=replace(scene.proposals, scores=scores))
    ids = model.codec.request_ids("the mug")
    before, after = (model.roles([ids], one)[0, 1, 2] for one in (scene, doubtful))
    assert bool((after < before - 5).all())


def test_each_thing_is_compared_once_on_its_newest_frame(model, scene):
    same = [(0 * THINGS + 1, 2 * THINGS + 3), (0 * THINGS + 2, 1 * THINGS + 4), (1 * THINGS + 0, 1 * THINGS + 5)]
    scores = scene.proposals.scores.clone()
    scores[0, 5] = -9.0  # nothing is there
    linked = _linked(replace(scene, proposals=replace(scene.proposals, scores=scores)), same)
    kept = once_each(linked)
    assert bool(kept[2].all())
    assert bool(kept[1].all())  # two of one frame are two, however alike
    assert kept[0].tolist() == [True, False, False, True, True, False]
    logits = model.roles([model.codec.request_ids("the mug")], linked)[0]
    assert bool((logits[~kept] < -10).all())
    assert bool((logits[kept] > -10).all())


def test_what_goes_from_frame_to_frame_is_one_thing(scene):
    # On frame 0 it looks like on frame 1, there like on frame 2, but 0 and 2 are not alike.
    chain = _linked(scene, [(0 * THINGS + 1, 1 * THINGS + 1), (1 * THINGS + 1, 2 * THINGS + 1)])
    assert once_each(chain)[:, 1].tolist() == [False, False, True]


# -- what is taken of it ---------------------------------------------------------------------------------------------


def test_what_is_meant_is_taken(scene):
    logits = NOTHING_MEANT.clone()
    logits[0, 1] = logits[2, 3] = logits[1, 5] = 2.0
    assert set(chosen(logits, scene)) == {(2, 3), (1, 5), (0, 1)}
    assert chosen(NOTHING_MEANT, scene) == []


def test_what_is_less_likely_meant_than_not_is_left(scene):
    # Training weighs what is meant by RARE: a logit of its logarithm is one chance in two.
    logits = NOTHING_MEANT.clone()
    logits[2, 1], logits[2, 4] = math.log(RARE) - 0.1, math.log(RARE) + 0.1
    assert chosen(logits, _linked(scene, [])) == [(2, 4)]


def test_where_something_is_meant_more_likely_than_not_the_likeliest_thing_is_taken(scene):
    logits = NOTHING_MEANT.clone()
    logits[0, 1], logits[1, 4], logits[2, 2] = (math.log(RARE) + odds for odds in (-0.9, -0.6, -0.8))
    # None is likelier than not (0.29, 0.35, 0.31), but one of them is: 0.68.
    assert chosen(logits, scene) == [(1, 4)]
    logits[0, 1] = logits[2, 2] = -9.0
    assert chosen(logits, scene) == []


def test_what_is_taken_stands_from_left_to_right(scene):
    logits = NOTHING_MEANT.clone()
    logits[2, :4] = 2.0
    taken = chosen(logits, _linked(scene, []))
    places = [float(scene.proposals.boxes[at][0]) for at in taken]
    assert len(taken) == 4
    assert places == sorted(places)


def test_no_more_than_a_few_are_taken_and_those_are_the_likeliest(scene):
    logits = torch.full((FRAMES, THINGS), 2.0)
    logits[0] = torch.linspace(3.0, 4.0, THINGS)
    assert len(chosen(logits, _linked(scene, []))) == min(FRAMES * THINGS, MOST_TARGETS)
    taken = chosen(logits, _linked(scene, []), THINGS - 1)
    assert len(taken) == THINGS - 1
    assert {frame for frame, _ in taken} == {0}


def test_tokens_are_those_of_the_things(scene):
    tokens = torch.randn(FRAMES, THINGS + 4, 48)
    picked = from_left([(2, 3), (0, 1)], scene)
    torch.testing.assert_close(tokens_of(picked, tokens), torch.stack([tokens[at] for at in picked]))
    assert tokens_of([], tokens).shape == (0, 48)


def test_a_mark_is_the_thing_itself_and_elsewhere_what_it_is_linked_to(scene):
    linked = _linked(scene, [(2 * THINGS + 3, 0 * THINGS + 1)])
    marked = marks(in_order([(2, 3)], 2), linked)
    assert marked.shape == (2, FRAMES, THINGS + 1)
    # On frame 1 nothing is linked to it; the second [SEG] stands for nothing anywhere.
    assert marked.argmax(dim=-1).tolist() == [[1, THINGS, 3], [THINGS] * FRAMES]
    assert float(marked[0, 2, 3]) > 5


# -- what is taught --------------------------------------------------------------------------------------------------


def _question(answer: tuple[int, ...]) -> packed_forward.Question:
    prompt = tiny_model().codec.prompt("the mug", (), [0.0], 12, 96)
    return packed_forward.Question(prompt, answer)


def test_segs_belong_to_their_questions():
    questions = [_question((1, SEG, SEG)), _question((2,)), _question((SEG,))]
    assert owners(questions, SEG) == [0, 0, 2]


def test_the_things_of_a_question_are_those_of_all_its_objects(scene):
    found = torch.tensor([[1, 2, -1], [-1, 4, 4], [-1, -1, -1]])  # three objects on three frames
    meant = SegTargets.at(found, scene, [_question((SEG, SEG)), _question((SEG,))], SEG)
    proposals = meant.proposals
    assert proposals.nonzero().tolist() == [[0, 0, 1], [0, 1, 2], [0, 1, 4], [0, 2, 4]]
    tokens = torch.randn(FRAMES, THINGS, 48)
    (first, second), marked = meant.shown(tokens)
    assert [int(marked[0, 1].argmax()), int(marked[1, 2].argmax())] == [2, 4]
    assert bool((marked[2] <= 0).all())  # it is seen nowhere
    torch.testing.assert_close(first, tokens_of(from_left([(1, 2), (2, 4)], scene), tokens))
    assert second.shape == (0, 48)  # it is seen nowhere


def test_half_of_the_answers_follow_what_the_focus_takes_right_or_wrong(scene):
    torch.manual_seed(0)
    meant = SegTargets.at(torch.tensor([[1, 2, 3]]), scene, [_question((SEG,))], SEG)
    tokens = torch.randn(FRAMES, THINGS, 48)
    told = NOTHING_MEANT.clone()
    told[1, 4] = told[1, 5] = 3.0
    counts = [len(meant.shown(tokens, told[None])[0][0]) for _ in range(200)]
    assert set(counts) == {1, 2}
    assert 0.4 < counts.count(1) / 200 < 0.6


def test_a_thing_that_is_no_object_is_nothing_to_a_request():
    about = torch.zeros(1, 2, 3, dtype=torch.bool)
    about[0, 1, TARGET] = about[0, 0, ANCHOR] = True
    hits = hits_of(about, torch.tensor([[1, -1, 0], [-1, -1, 1]]))
    assert hits[0, ..., TARGET].tolist() == [[True, False, False], [False, False, True]]
    assert hits[0, ..., ANCHOR].tolist() == [[False, False, True], [False, False, False]]
    assert not hits[..., CANDIDATE].any()


def test_a_request_teaches_nothing_where_what_it_means_was_not_found(scene):
    """Three objects: one that is found, one that only a second box lies on, one of which nothing is left."""
    which = torch.full((FRAMES, THINGS), -1)
    lies_on = torch.full((FRAMES, THINGS), -1)
    which[2, 0], lies_on[2, 1], lies_on[2, 3] = 0, 0, 1
    about = torch.zeros(4, 3, 1, dtype=torch.bool)
    about[0, 0] = about[1, 1] = about[2, 2] = True  # the last request means nothing
    wanted, known = (x[..., 0] for x in lessons_of(about, which, lies_on, scene))
    assert wanted.nonzero().tolist() == [[0, 2, 0], [1, 2, 3]]
    assert (~known[0]).nonzero().tolist() == [[2, 1]]  # a second box on the same thing
    assert bool(known[1].all())
    assert not known[2].any()
    assert bool(known[3].all())
    logits = torch.zeros(4, FRAMES, THINGS, requires_grad=True)
    focus_loss(logits, wanted, scene, known).backward()
    assert not logits.grad[2].any()
    assert float(logits.grad[0, 2, 1]) == 0.0
    assert float(logits.grad[0, 2, 0]) < 0 < float(logits.grad[3, 2, 0])


def test_an_answer_about_what_was_not_found_teaches_no_words():
    questions = [_question((1, SEG, SEG)), _question((2,)), _question((SEG,)), _question((SEG,))]
    hits = torch.zeros(4, FRAMES, THINGS, dtype=torch.bool)
    hits[0, 1, 2] = hits[3, 0, 0] = True
    taught = wordless(questions, hits, torch.tensor([0, 1, -1, 2]), SEG)
    assert [one.text_loss for one in taught] == [False, True, True, True]
    assert [one.prompt for one in taught] == [one.prompt for one in questions]


def test_to_miss_what_is_meant_costs_more_than_to_add_what_is_not(scene):
    wanted = torch.zeros(1, FRAMES, THINGS, dtype=torch.bool)
    wanted[0, 2, 0] = True
    right = torch.full((1, FRAMES, THINGS), -2.0)
    missed, right[0, 2, 0] = right.clone(), 2.0
    added = right.clone()
    added[0, 2, 1] = 2.0
    costs = [float(focus_loss(logits, wanted, scene)) for logits in (right, added, missed)]
    assert costs == sorted(costs)
    assert len(set(costs)) == 3


def test_what_is_shown_again_is_taught_once(scene):
    linked = _linked(scene, [(0 * THINGS + 1, 2 * THINGS + 3)])
    wanted = torch.zeros(1, FRAMES, THINGS, dtype=torch.bool)
    logits = torch.zeros(1, FRAMES, THINGS, requires_grad=True)
    focus_loss(logits, wanted, linked).backward()
    assert float(logits.grad[0, 0, 1]) == 0.0
    assert float(logits.grad[0, 2, 3]) > 0.0


# -- requests to learn from -------------------------------------------------------------------------------------------


def test_relations_tell_their_other_end_and_choices_what_was_chosen_from(data):
    facts = ClipReader(data / "0000000").facts
    rng = np.random.default_rng(0)
    by_kind: dict[str, list] = {}
    for sample in sample_requests(facts, len(facts.frames) - 1, rng, 200):
        by_kind.setdefault(sample.kind, []).append(sample)
    assert by_kind["relation"]
    for sample in by_kind["relation"]:
        assert sample.anchors
        assert not set(sample.anchors) & set(sample.targets)
    for sample in by_kind["superlative"]:
        assert set(sample.targets) <= set(sample.candidates)
        assert len(sample.candidates) > 1
    assert not any(sample.anchors or sample.candidates for sample in by_kind["name"])


def test_so_many_requests_come_in_usual_sentences_as_asked_for(data):
    clip, codec = ClipReader(data / "0000000"), tiny_model().codec
    rare = replace(TRAINED, before=("hark",))

    def rare_ones(usual: float) -> int:
        config = FeedConfig(
            root=data, frames=3, requests=6, seed=0, height=64, width=96, visual_tokens=12, aims=40, augment=False,
            wordings=(rare,), usual=usual,
        )  # fmt: skip
        feed, rng = Feed(config, codec), np.random.default_rng(0)
        batches = [feed.make(clip, rng) for _ in range(8)]
        tails = [tail for batch in batches for tail in (*batch.aims.tails, *(q.prompt.tail for q in batch.questions))]
        return sum("hark" in codec.decode(tail).lower() for tail in tails)

    everywhere = rare_ones(0.0)
    assert rare_ones(1.0) == 0
    assert 0.2 * everywhere < rare_ones(0.5) < 0.8 * everywhere


def test_a_batch_has_requests_for_the_focus_with_what_objects_are_to_them(data):
    codec = tiny_model().codec
    config = FeedConfig(
        root=data, frames=3, requests=0, seed=0, height=64, width=96, visual_tokens=12, aims=40, augment=False
    )
    batch = Feed(config, codec).make(ClipReader(data / "0000000"), np.random.default_rng(0))
    aims = batch.aims
    assert aims is not None
    assert not batch.questions
    assert aims.about.shape == (len(aims.tails), 3, 3)
    assert len(aims.kinds) == len(aims.tails) <= 40
    for tail, kind, about in zip(aims.tails, aims.kinds, aims.about, strict=True):
        assert tail
        assert bool(about[:, TARGET].any()) == (kind != "absent")
        assert bool(about[:, ANCHOR].any()) == (kind in ("relation", "follow-up"))
    compared = [kind for kind in aims.kinds if kind in ("relation", "superlative", "size", "negation")]
    assert len(compared) > len(aims.kinds) / 5


def test_the_focus_phase_learns_and_leaves_eyes_and_language_model_alone(data, tmp_path):
    start = tmp_path / "start.safetensors"
    eyes_open = tiny_model()
    with torch.no_grad():
        eyes_open.language.finder.heat.bias.fill_(4.0)  # untrained, it would take nothing for a thing
    save(eyes_open, start, torch.float32)
    before = load(start).state_dict()
    out = tmp_path / "run"
    config = TrainConfig(
        data=data, out=out, phase="focus", init=start, steps=25, decay_steps=5, warmup_steps=1, clips_per_step=1,
        frames=2, fewest_frames=2, aims=24, lr=3e-3, log_every=1, threads=1, backbone_lr=0.0, validate=data,
        validate_clips=2,
    )  # fmt: skip
    after = load(train(config)).state_dict()
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-2, rtol=1e-2)}
    assert any(name.startswith("focus.reader.") for name in changed)
    assert any(name.startswith("focus.layers.") for name in changed)
    assert all(name.startswith(("focus.", "language.scene.", "language.to_token.")) for name in changed)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [line["focus"] for line in lines if "focus" in line]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    shares = lines[-1]["validation"]
    assert 0 <= shares["focus"] <= 1
    assert {name for name in shares if name.startswith("focus: ")}


def test_frozen_eyes_look_at_a_clip_once_and_remember_each_frame(data):
    asked: list[torch.Tensor] = []

    def see(images: torch.Tensor, stretch: float) -> tuple[Proposals, ...]:
        asked.append(images)
        assert stretch == pytest.approx(96 / 64 * 48 / 64)
        means = images.mean(dim=(1, 2, 3))
        plain = Proposals(
            means[:, None, None].expand(-1, 4, 8), torch.full((len(images), 4, 4), 0.5), means[:, None].expand(-1, 4)
        )
        return plain, Proposals(plain.features + 1, plain.boxes / 2, plain.scores + 2)

    sights = FeatureCache(see, 64, 96)
    folder, other = data / "0000000", data / "0000001"
    whole = sights(folder, range(6), (), torch.device("cpu"))
    assert whole.features.shape == (6, 4, 8)
    some = sights(folder, (1, 4), (), torch.device("cpu"))
    torch.testing.assert_close(some.features, whole.features[[1, 4]])
    # Of the second of them more is known: it was recognised.
    better = sights(folder, (1, 4), (1,), torch.device("cpu"))
    more = torch.tensor([0.0, 1.0])[:, None, None]
    torch.testing.assert_close(better.features, whole.features[[1, 4]] + more, atol=2e-3, rtol=0)
    torch.testing.assert_close(better.boxes[:, 0, 0], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(better.scores[1], whole.scores[4] + 2, atol=2e-3, rtol=0)
    assert sum(map(len, asked)) == 6
    assert asked[0].shape[1:] == (3, 64, 96)
    assert not torch.allclose(sights(other, (1, 4), (), torch.device("cpu")).features, some.features)


def test_what_eyes_saw_is_found_again_by_the_next_run_with_the_same_eyes(data, tmp_path):
    asked: list[torch.Tensor] = []

    def see(images: torch.Tensor, stretch: float) -> tuple[Proposals, ...]:
        asked.append(images)
        means = images.mean(dim=(1, 2, 3))[:, None]
        plain = Proposals(means[..., None].expand(-1, 4, 8), torch.full((len(images), 4, 4), 0.5), means.expand(-1, 4))
        return plain, Proposals(plain.features + 1, plain.boxes / 2, plain.scores + 2)

    def look(eyes: str) -> Proposals:
        return FeatureCache(see, 64, 96, 0, tmp_path / eyes)(data / "0000000", (1, 4), (1,), torch.device("cpu"))

    model = tiny_model()
    eyes = eyes_of(model.language.finder.state_dict())
    first = look(eyes)
    seen = len(asked)
    again = look(eyes)
    assert len(asked) == seen
    before, after = ((look.features, look.boxes, look.scores) for look in (first, again))
    for mine, theirs in zip(before, after, strict=True):
        torch.testing.assert_close(mine, theirs, atol=0, rtol=0)
    # A file that was cut off is made again.
    (file,) = (tmp_path / eyes).iterdir()
    file.write_bytes(file.read_bytes()[:100])
    torch.testing.assert_close(look(eyes).features, first.features)
    assert len(asked) == 2 * seen
    # Other eyes see for themselves.
    with torch.no_grad():
        next(model.language.finder.parameters()).add_(1e-3)
    other = eyes_of(model.language.finder.state_dict())
    assert other != eyes
    look(other)
    assert len(asked) == 3 * seen


def test_each_process_has_its_own_clips_and_none_twice(data):
    def first_clips(part: tuple[int, int]) -> set[str]:
        config = FeedConfig(data, 2, 0, 0, 64, 96, aims=2, part=part, pictures=False)
        feed = Feed(config, tiny_model().codec)
        batches = [batch for batch, _ in zip(feed, range(6), strict=False)]
        feed.close()
        assert all(batch.images.shape == (0, 3, 64, 96) for batch in batches)
        return {batch.folder.name for batch in batches}

    assert first_clips((0, 2)) == {"0000000"}
    assert first_clips((1, 2)) == {"0000001"}
    assert first_clips((0, 1)) == {"0000000", "0000001"}


# -- where it is used -------------------------------------------------------------------------------------------------


def _asked(model, text="the mug"):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(2)]
    clip = [ClipFrame(t / 10, partial(images.__getitem__, t)) for t in range(2)]
    looked = finish(encode_clip(model, text, clip, 2, newest=True))
    return looked, prompt_about(model, looked, text, ())


def test_the_language_model_is_shown_what_a_request_is_about():
    model = tiny_model().requires_grad_(False).eval()
    model.language.finder.heat.bias.fill_(4.0)
    looked, prompt = _asked(model)
    model.focus.score.bias[TARGET] = -60.0
    assert focused(model, prompt, looked.visual) == []
    model.focus.score.bias[TARGET] = 60.0
    shown = tokens_of(focused(model, prompt, looked.visual), looked.visual.tokens)
    assert 1 <= len(shown) <= MOST_TARGETS
    of_things = looked.visual.tokens[:, :THINGS].flatten(0, 1)
    assert bool((torch.cdist(shown, of_things).amin(dim=1) < 1e-4).all())


def test_a_model_that_is_not_told_of_things_has_no_focus():
    config = tiny_config()
    plain = tiny_model(config=replace(config, language=replace(config.language, things=None))).requires_grad_(False)
    looked, prompt = _asked(plain)
    assert focused(plain, prompt, looked.visual) == []
