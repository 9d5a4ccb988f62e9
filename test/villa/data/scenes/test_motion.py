"""What moves in a clip: motions have an order, an end, and an arm that stays with what it pushes."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from rendering import needs_rendering

from villa.data.build import make_clip
from villa.data.language.motion_events import happenings
from villa.data.scenes import procedural
from villa.data.scenes.arm import ARM, arm_path
from villa.data.scenes.hand import HAND, HELD
from villa.data.scenes.motion import LONGEST_S, Motion, Mover, brought_near, plan_motions
from villa.data.scenes.objects import COLLISION_GROUP
from villa.data.scenes.physics import mujoco
from villa.data.scenes.render import render
from villa.data.scenes.scene import Scene, SceneConfig, compose
from villa.data.scenes.view import plan_camera
from villa.data.splits import SPLITS

TRAIN = SPLITS["train"]
SMALL = SceneConfig(width=160, height=120, frames=16)


def plan(seed: int, frames: int = 16, hands: float = 0.0) -> list[Motion]:
    rng = np.random.default_rng(seed)
    kinds = ("mug", "bowl", "book", "can", "bottle", "block")
    objects = [procedural.make(kind, rng) for kind in kinds]
    places = np.array([(-0.3, -0.15), (0.0, -0.15), (0.3, -0.15), (-0.3, 0.15), (0.0, 0.15), (0.3, 0.15)])
    return plan_motions(objects, places, plan_camera(frames, 320, 240, rng), frames, rng, hands=hands)


def scene(seed: int, config: SceneConfig) -> Scene:
    rng = np.random.default_rng(seed)
    return compose([procedural.make(kind, rng) for kind in ("mug", "bowl", "can", "block")], config, rng)


def test_an_object_moves_twice_at_most_never_twice_at_once_and_there_is_one_arm_and_one_panel() -> None:
    twice = 0
    for seed in range(120):
        frames = 16 if seed % 2 else 120
        motions = plan(seed, frames)
        subjects = [motion.subject for motion in motions]
        assert max((subjects.count(subject) for subject in subjects), default=0) <= (1 if frames == 16 else 2)
        twice += len(subjects) > len(set(subjects))
        for one, other in combinations([motion for motion in motions if motion.subject >= 0], 2):
            assert one.subject != other.subject or one.last < other.first
        assert sum(motion.kind == ARM for motion in motions) <= 1
        assert subjects.count(-1) <= 1
    assert twice > 5


def test_every_kind_of_motion_comes_and_most_pairs_have_an_order() -> None:
    kinds: set[str] = set()
    apart = pairs = 0
    for seed in range(150):
        motions = [motion for motion in plan(seed) if motion.subject >= 0]
        kinds |= {motion.kind for motion in motions}
        for one, other in combinations(motions, 2):
            pairs += 1
            apart += abs(one.begins - other.begins) >= 4
    assert kinds == {"pushed", "dropped", "carried", "behind", ARM}
    assert pairs > 40
    assert apart > 0.45 * pairs


def test_motions_of_long_clips_take_no_longer_than_those_of_short_ones() -> None:
    longest = round(LONGEST_S * 5.0)
    late = motions = 0
    for seed in range(40):
        for motion in plan(seed, frames=120):
            assert 0 <= motion.first <= motion.last < 120
            assert motion.path.shape == (120, 3)
            if motion.kind != "occluder":
                assert motion.last - motion.first < longest
                late += motion.first > 40
                motions += 1
    assert late > 20
    assert motions > 40 * 120 / 5 / 6  # one in six seconds at least


def test_what_is_dropped_late_in_a_clip_is_out_of_the_picture_before() -> None:
    late = 0
    for seed in range(40):
        camera = plan_camera(120, 320, 240, np.random.default_rng(seed), still=True)
        for motion in plan(seed, frames=120):
            if motion.kind != "dropped" or motion.first == 0:
                continue
            late += 1
            column, row, depth = camera.project(motion.path[: motion.first], 0).T
            assert not ((depth > 0) & (column > 0) & (column < 320) & (row > 0) & (row < 240)).any()
    assert late > 10


def test_the_arm_touches_what_it_pushes_and_comes_and_goes() -> None:
    seen = 0
    for seed in range(200):
        for motion in plan(seed, frames=40):
            if motion.kind != ARM:
                continue
            seen += 1
            assert motion.tool is not None
            gap = np.linalg.norm((motion.tool - motion.path)[:, :2], axis=1)
            during = slice(motion.first, motion.last + 1)
            assert np.ptp(gap[during]) < 1e-9
            assert gap[during].max() < 0.15
            direction = motion.path[motion.last] - motion.path[motion.first]
            assert ((motion.path - motion.tool)[during] @ direction > 0).all()  # always behind it
            far = [t for t in range(40) if t < motion.first - 4 or t > motion.last + 4]
            assert all(motion.tool[t, 2] < -1 for t in far)
    assert seen > 15


def test_the_arm_comes_from_outside_the_picture_and_leaves_it() -> None:
    seen = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        camera, item = plan_camera(16, 320, 240, rng), procedural.make("mug", rng)
        turn = rng.uniform(-0.5, np.pi + 0.5)
        direction = np.array([np.cos(turn), np.sin(turn)])
        path = np.tile([0.0, 0.0, 0.002], (16, 1))
        path[:, :2] += np.clip((np.arange(16) - 5) / 5, 0, 1)[:, None] * 0.15 * direction
        tool = arm_path(path, direction, item, 5, 10, camera)
        for frame in (1, 14):
            column, row, depth = camera.project(tool[frame : frame + 1], frame)[0]
            assert not (depth > 0 and 0 < column < 320 and 0 < row < 240)
        column, row, _ = camera.project(tool[5:6], 5)[0]
        seen += bool(0 < column < 320 and 0 < row < 240)
    assert seen > 150


def test_a_hand_keeps_hold_of_what_it_moves_and_there_is_one_at_most() -> None:
    held = moving = 0
    kinds = set()
    for seed in range(120):
        motions = plan(seed, frames=40, hands=1.0)
        by_hand = [motion for motion in motions if motion.body == HAND]
        assert len(by_hand) <= 1
        moving += any(motion.kind in HELD for motion in motions)
        for motion in by_hand:
            held += 1
            kinds.add(motion.kind)
            during = slice(motion.first, motion.last + 1)
            gap = (motion.tool - motion.path)[during]
            assert np.ptp(gap, axis=0).max() < 1e-9  # lifted with it, too
            assert np.linalg.norm(gap, axis=1).max() < 0.25
            assert all(motion.tool[t, 2] < -1 for t in range(40) if t < motion.first - 4 or t > motion.last + 4)
    assert held == moving > 60
    assert kinds == set(HELD)
    assert not any(motion.body == HAND for seed in range(40) for motion in plan(seed))


def test_half_of_what_a_hand_carries_is_turned() -> None:
    carried = [
        motion
        for seed in range(300)
        for motion in plan(seed, hands=1.0)
        if motion.kind == "carried" and motion.tool is not None
    ]
    assert len(carried) > 40
    turned = sum(bool(motion.spin.any()) for motion in carried)
    assert 0.3 * len(carried) < turned < 0.7 * len(carried)
    assert not any(motion.spin.any() for seed in range(60) for motion in plan(seed))


def test_what_is_brought_near_the_camera_is_put_back() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        camera = plan_camera(16, 320, 240, rng)
        motion = Motion("carried", 0, 3, 11, np.tile([0.1, 0.0, 0.002], (16, 1)))
        path = brought_near(motion, camera, rng)
        outside = [t for t in range(16) if not 3 < t < 11]
        assert np.allclose(path[outside], motion.path[outside])
        away, before = (np.linalg.norm(camera.position[7] - x[7]) for x in (path, motion.path))
        assert 0.35 * before < away < 0.85 * before


def laid_out(*things: tuple[str, tuple[float, float, float], float]) -> Any:
    """A compiled scene of things on a plane: kind, place m, lean in degrees."""
    spec = mujoco.MjSpec()
    spec.option.timestep = SMALL.timestep_s
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2, 2, 0.1])
    for index, (kind, place, lean) in enumerate(things):
        rng = np.random.default_rng(1)
        body = procedural.make(kind, rng).attach(spec, f"object{index}", rng)
        body.pos = place
        body.quat = [np.cos(np.radians(lean) / 2), np.sin(np.radians(lean) / 2), 0.0, 0.0]
    return spec.compile()


def test_a_clip_begins_when_all_has_come_to_rest_and_what_rests_is_not_waited_for() -> None:
    for kind, lean in (("bottle", 30.0), ("bottle", 45.0), ("vase", 30.0), ("mug", 0.0)):
        model = laid_out((kind, (0.0, 0.0, 0.06), lean))
        data = mujoco.MjData(model)
        mover = Mover(model, [], SMALL.steps_per_frame)
        mover.settle(data)
        steps = round(data.time / SMALL.timestep_s)
        assert (steps > 120) == bool(lean)
        before = data.qpos.copy()
        for frame in range(5):
            mover.advance(data, frame)
        assert np.abs(data.qpos - before)[:3].max() < 0.002


def test_who_touches_whom_is_told_for_every_frame() -> None:
    model = laid_out(
        ("block", (0.0, 0.0, 0.002), 0.0), ("block", (0.15, 0.0, 0.002), 0.0), ("mug", (0.0, 0.4, 0.002), 0.0)
    )
    path = np.zeros((16, 3))
    path[:, 0] = np.clip((np.arange(16) - 2) / 8, 0, 1) * 0.15
    mover = Mover(model, [Motion("pushed", 0, 2, 10, path)], SMALL.steps_per_frame)
    data = mujoco.MjData(model)
    mover.settle(data)
    touching = [mover.advance(data, frame) for frame in range(10)]
    assert touching[0] == frozenset()
    assert touching[8] == {(0, 1)}
    assert data.qpos[7] > 0.17


def test_a_share_of_hands_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hands 1\.5: wanted a share from 0 to 1"):
        SceneConfig(hands=1.5)


@pytest.mark.render
@pytest.mark.parametrize(("tool", "config"), [(ARM, SMALL), (HAND, replace(SMALL, hands=1.0))], ids=[ARM, HAND])
def test_arm_and_hand_are_in_the_picture_and_in_no_mask(tool: str, config: SceneConfig) -> None:
    needs_rendering()
    found = 0
    for seed in range(60, 100):
        planned = scene(seed, config)
        moved = [motion.subject for motion in planned.motions if motion.body == tool]
        if not moved:
            continue
        found += 1
        frames = list(render(planned, config))
        body = int(planned.model.body(tool).id)
        planned.model.geom_group[planned.model.geom_bodyid == body] = COLLISION_GROUP  # which no camera sees
        without = list(render(planned, config))
        drawn = 0
        for one, other in zip(frames, without, strict=True):
            # What it covers is missing from masks, and nothing is added to them.
            assert np.isin(one.instance, (0, *np.unique(other.instance))).all()
            covers = np.abs(one.rgb.astype(int) - other.rgb.astype(int)).max(axis=2) > 30
            drawn = max(drawn, int((covers & (one.instance == 0)).sum()))
        assert drawn > 60
        assert np.linalg.norm(frames[-1].position[moved[0]] - frames[0].position[moved[0]]) > 0.05
        if found == 3:
            return
    pytest.fail(f"no three clips with {tool} among 40 seeds")


@pytest.mark.render
def test_what_moves_without_a_motion_of_its_own_has_an_event_and_drops_are_seen() -> None:
    needs_rendering()
    bumped = drops = 0
    for seed in (5, 6, 15, 22, 27):
        facts = make_clip(TRAIN, seed, SMALL, (), (), False)[0]
        own = {e.object_id for e in facts.events if e.kind in ("pushed", "dropped", "carried", "behind", ARM)}
        told = {e.object_id for e in facts.events if e.kind in ("moved", "toppled")}
        for row, thing in enumerate(facts.objects):
            way = np.array([frame[row].position_m for frame in facts.frames])
            if thing.id not in own and np.linalg.norm(way - way[0], axis=1).max() > 0.02:
                assert thing.id in told
                bumped += 1
        for event in facts.events:
            row = next((i for i, thing in enumerate(facts.objects) if thing.id == event.object_id), 0)
            if event.kind == "dropped":
                drops += 1
                start, end = (facts.frames[t][row] for t in (event.first, event.last))
                assert start.visible_px
                assert end.visible_px
                assert start.position_m[2] > end.position_m[2] + 0.02
    assert bumped
    assert drops


@pytest.mark.render
def test_in_a_hidden_story_something_is_lost_from_sight_and_comes_back() -> None:
    needs_rendering()
    config = SceneConfig(width=160, height=120, frames=48, story="hidden")
    hidden = 0
    for seed in range(6):
        facts, _, masks, _ = make_clip(TRAIN, seed, config, (), (), False)
        for event in facts.events:
            if event.kind != "occluded" or event.last - event.first < 3 or event.first < 6 or event.last > 42:
                continue
            hidden += 1
            assert not any((masks[t] == event.object_id).sum() >= 40 for t in range(event.first, event.last + 1))
            assert (masks[event.first - 1] == event.object_id).sum() >= 40
            assert (masks[event.last + 1] == event.object_id).sum() >= 40
            assert event.object_id in happenings(facts, 0, 47).hidden
            break
    assert hidden >= 5


def test_an_unknown_story_is_refused() -> None:
    with pytest.raises(ValueError, match="story 'sad': wanted one of any, hidden"):
        SceneConfig(story="sad")


@pytest.mark.render
def test_a_clip_of_one_frame_can_be_made() -> None:
    needs_rendering()
    facts, frames, _, _ = make_clip(TRAIN, 3, replace(SMALL, frames=1), (), (), False)
    assert len(frames) == len(facts.frames) == 1
    assert any(view.visible_px for view in facts.frames[0])
