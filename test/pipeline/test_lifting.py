"""Lifting, on scenes whose geometry is known: a box on a table, ray by ray."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from villa.masks import RleMask, encode
from villa_ros.pipeline.camera_model import CameraModel, CameraModelError
from villa_ros.pipeline.depth import DepthBuffer, DepthImage, depth_image, packed_depth_image
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.lifting import lift, points_of

HEIGHT, WIDTH = 240, 320
CAMERA = CameraModel(HEIGHT, WIDTH, 300.0, 290.0, 161.5, 118.5)
# The table as the camera sees it: looking down at 40 degrees from 0.6 m above it.
_DOWN = np.deg2rad(40)
TILT = np.array([[1, 0, 0], [0, -np.sin(_DOWN), -np.cos(_DOWN)], [0, np.cos(_DOWN), -np.sin(_DOWN)]])  # x, away, up
ABOVE = 0.6
SIZE = np.array([0.12, 0.07, 0.09])
PLACE = np.array([0.03, 0.75, SIZE[2] / 2])  # on the table, in its own axes: x right, y away, z up
TURN = np.deg2rad(25)


def rendered(camera: CameraModel = CAMERA, *, wall: bool = False) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Depth [H, W] m and mask of a box on a table (and a wall behind it), by shooting a ray through each pixel."""
    whole = (slice(0, camera.height), slice(0, camera.width))
    rays = np.concatenate((camera.rays(*whole), np.ones((camera.height, camera.width, 1))), axis=-1)
    away = rays @ TILT  # in the table's axes
    eye = np.array([0.0, 0.0, ABOVE])
    table = np.where(away[..., 2] < 0, -eye[2] / np.minimum(away[..., 2], -1e-9), np.inf)
    depth = table
    if wall:
        depth = np.minimum(depth, np.where(away[..., 1] > 0, 0.95 / np.maximum(away[..., 1], 1e-9), np.inf))
    turn = Rotation.from_euler("z", TURN).as_matrix()
    start, along = (eye - PLACE) @ turn, away @ turn
    with np.errstate(divide="ignore"):
        ends = (np.array([-0.5, 0.5])[:, None, None, None] * SIZE - start) / along
    enter, leave = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
    hit = (enter < leave) & (enter > 0) & (enter < depth)
    return np.where(hit, enter, depth).astype(np.float32), hit


def seen_as(depth: NDArray[np.float32], stamp_ns: int = 0) -> DepthImage:
    return depth_image(stamp_ns, *depth.shape, "32FC1", 4 * depth.shape[1], depth.tobytes())


def box_error(lifted: object) -> tuple[float, float]:
    """How far the middle of the box is off in m, and its yaw in degrees."""
    true = TILT @ (PLACE - [0, 0, ABOVE])
    rotation = Rotation.from_quat(lifted.orientation).as_matrix()
    axis = TILT.T @ rotation[:, 0]
    yaw = np.rad2deg(np.arctan2(axis[1], axis[0]))
    return float(np.linalg.norm(np.array(lifted.centre) - true)), float(abs((yaw - 25 + 90) % 180 - 90))


def test_a_box_on_a_table_has_its_place_size_and_yaw() -> None:
    depth, mask = rendered()
    lifted = lift(encode(mask), seen_as(depth), CAMERA)
    assert lifted.on_plane
    off, yaw = box_error(lifted)
    assert off < 0.01
    assert yaw < 4
    assert np.allclose(lifted.size, SIZE, atol=0.01)
    up = Rotation.from_quat(lifted.orientation).as_matrix()[:, 2]
    assert np.allclose(up, TILT[:, 2], atol=0.02)  # the table's normal, not the camera's
    assert lifted.valid_points == mask.sum()
    assert lifted.valid_fraction == 1.0


def test_table_in_the_mask_is_no_part_of_the_box() -> None:
    depth, mask = rendered()
    grown = np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((9, 9), np.uint8)), np.bool_)
    exact, spilt = (lift(encode(one), seen_as(depth), CAMERA) for one in (mask, grown))
    assert np.allclose(spilt.size, exact.size, atol=0.012)
    assert np.allclose(spilt.centre, exact.centre, atol=0.012)


def test_a_wall_behind_is_not_what_it_stands_on() -> None:
    depth, mask = rendered(wall=True)
    off, _ = box_error(lift(encode(mask), seen_as(depth), CAMERA))
    assert off < 0.012


@pytest.mark.parametrize(("height", "stands"), [(0.1, True), (0.8, False)])
def test_seen_right_from_above_it_stands_on_the_only_plane_unless_it_were_a_tower(height: float, stands: bool) -> None:
    depth, mask = np.full((HEIGHT, WIDTH), 1.2, np.float32), np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[80:140, 100:180] = True
    depth[mask] -= height
    lifted = lift(encode(mask), seen_as(depth), CAMERA)
    assert lifted.on_plane == stands
    assert lifted.size[2] == pytest.approx(height if stands else 0.0, abs=0.01)
    if stands:
        assert lifted.centre[2] == pytest.approx(1.15, abs=0.01)


def test_noise_holes_and_flying_pixels_do_not_move_the_box_far() -> None:
    rng = np.random.default_rng(0)
    depth, mask = rendered()
    rough = depth + rng.normal(0, 0.002, depth.shape).astype(np.float32)
    rough[rng.random(depth.shape) < 0.2] = 0
    flying = rng.random(depth.shape) < 0.01
    rough[flying & mask] += 0.4
    lifted = lift(encode(mask), seen_as(rough), CAMERA)
    off, _ = box_error(lifted)
    assert off < 0.015
    assert np.allclose(lifted.size, SIZE, atol=0.02)
    assert 0.75 < lifted.valid_fraction < 0.85


def test_without_anything_around_the_box_lies_along_the_camera() -> None:
    depth, mask = rendered()
    alone = np.where(mask, depth, np.nan).astype(np.float32)
    lifted = lift(encode(mask), seen_as(alone), CAMERA)
    assert not lifted.on_plane
    assert lifted.orientation == (0, 0, 0, 1)
    points = points_of(encode(mask), seen_as(alone), CAMERA)
    assert np.allclose(np.array(lifted.centre), (points.min(axis=0) + points.max(axis=0)) / 2, atol=0.01)


def test_other_objects_are_not_the_ground() -> None:
    depth, mask = rendered()
    rim = np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((61, 61), np.uint8)), np.bool_) & ~mask
    lifted = lift(encode(mask), seen_as(depth), CAMERA, others=[encode(rim)])
    assert not lifted.on_plane


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
def test_depth_that_is_not_known_is_no_point(value: float) -> None:
    depth, mask = rendered()
    assert lift(encode(mask), seen_as(np.full_like(depth, value)), CAMERA) is None
    half = depth.copy()
    half[:, : WIDTH // 2] = value
    rle = encode(mask)
    assert len(points_of(rle, seen_as(half), CAMERA)) == mask[:, WIDTH // 2 :].sum()


def test_an_empty_mask_and_a_single_pixel_are_nothing() -> None:
    depth, mask = rendered()
    assert lift(RleMask.empty(HEIGHT, WIDTH), seen_as(depth), CAMERA) is None
    one = np.zeros_like(mask)
    one[100, 100] = True
    assert lift(encode(one), seen_as(depth), CAMERA) is None
    assert len(points_of(encode(one), seen_as(depth), CAMERA)) == 1


def test_other_sizes_are_refused_with_what_to_do() -> None:
    depth, mask = rendered()
    small = seen_as(depth[:120, :160].copy())
    with pytest.raises(ValueError, match="registered"):
        lift(encode(mask), small, CAMERA)
    with pytest.raises(ValueError, match="160x120"):
        points_of(encode(mask), small, CAMERA)


def test_millimetres_and_byte_order() -> None:
    depth = np.array([[1.5, 0.0], [0.25, 3.0]], np.float32)
    for order, step in itertools.product("<>", (4, 6)):
        rows = np.zeros((2, step), np.uint8)
        rows[:, :4] = (depth * 1000).astype(f"{order}u2").view(np.uint8)
        image = depth_image(5, 2, 2, "16UC1", step, rows.tobytes(), order == ">")
        seen = image.metres(slice(0, 2), slice(0, 2))
        assert np.allclose(seen, [[1.5, np.nan], [0.25, 3.0]], equal_nan=True)
        assert np.allclose(image.metres(slice(1, 2), slice(1, 2)), [[3.0]])


def test_a_camera_may_count_in_another_unit() -> None:
    """A D405 counts tenths of a millimetre."""
    rows = np.array([[15000, 0], [2500, 30000]], np.uint16)
    image = depth_image(5, 2, 2, "16UC1", 4, rows.tobytes(), unit_m=0.0001)
    assert np.allclose(image.metres(slice(0, 2), slice(0, 2)), [[1.5, np.nan], [0.25, 3.0]], equal_nan=True)
    metres = depth_image(5, 1, 2, "32FC1", 8, np.array([[1.5, 2.0]], np.float32).tobytes(), unit_m=0.0001)
    assert metres.metres(slice(0, 1), slice(0, 2)).tolist() == [[1.5, 2.0]]  # these are metres whatever it says


def test_packed_depth_is_decoded_once_and_only_where_somebody_looks() -> None:
    rows = np.array([[1500, 0], [250, 3000]], np.uint16)
    png = cv2.imencode(".png", rows)[1].tobytes()
    image = packed_depth_image(5, "16UC1; compressedDepth png", bytes(12) + png)
    assert (image.stamp_ns, image.height, image.width) == (5, 2, 2)
    seen = image.metres(slice(0, 2), slice(0, 2))
    assert np.allclose(seen, [[1.5, np.nan], [0.25, 3.0]], equal_nan=True)
    assert np.allclose(image.metres(slice(1, 2), slice(1, 2)), [[3.0]])
    broken = packed_depth_image(5, "16UC1; compressedDepth png", bytes(12) + png[:45] + bytes(4) + png[49:])
    with pytest.raises(ImageError, match="PNG"):
        broken.metres(slice(0, 2), slice(0, 2))
    plain = packed_depth_image(5, "16UC1; png compressed ", png, unit_m=0.01)
    assert np.allclose(plain.metres(slice(0, 1), slice(0, 1)), [[15.0]])


@pytest.mark.parametrize(
    ("height", "width", "encoding", "step", "size", "reason"),
    [(2, 2, "rgb8", 6, 12, "encoding"), (2, 2, "16UC1", 3, 6, "size"), (2, 2, "32FC1", 8, 15, "size"),
     (0, 2, "32FC1", 8, 0, "size")],
)  # fmt: skip
def test_what_is_no_depth_image_is_named(
    height: int, width: int, encoding: str, step: int, size: int, reason: str
) -> None:
    with pytest.raises(ImageError) as caught:
        depth_image(0, height, width, encoding, step, bytes(size))
    assert caught.value.reason == reason


def test_depth_is_found_by_its_stamp_or_the_nearest_within_the_slop() -> None:
    exact, loose = DepthBuffer(3, 0), DepthBuffer(3, 10)
    for buffer in (exact, loose):
        for stamp in (100, 130, 160, 190):
            buffer.add(seen_as(np.ones((2, 2), np.float32), stamp))
    assert len(exact) == 3
    assert exact.at(160).stamp_ns == 160
    assert exact.at(161) is None
    assert loose.at(151).stamp_ns == 160
    assert loose.at(145) is None  # 15 off either way
    assert loose.at(100) is None  # forgotten
    assert loose.may_come(191)
    assert not loose.may_come(190)
    loose.add(seen_as(np.ones((2, 2), np.float32), 50))  # the clock went back
    assert len(loose) == 1


def info(**changes: object) -> SimpleNamespace:
    fields = {
        "height": HEIGHT, "width": WIDTH, "distortion_model": "plumb_bob", "d": [0.0] * 5,
        "k": [300.0, 0, 161.5, 0, 290.0, 118.5, 0, 0, 1], "r": list(np.eye(3).ravel()),
        "p": [280.0, 0, 160.0, 0, 0, 280.0, 120.0, 0, 0, 0, 1, 0], "binning_x": 0, "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_raw_images_are_described_by_k_and_rectified_ones_by_p() -> None:
    raw = CameraModel.of_info(info(), rectified=False)
    assert raw == CAMERA
    ready = CameraModel.of_info(info(d=[-0.3, 0.1, 0, 0, 0]), rectified=True)
    assert (ready.fx, ready.fy, ready.cx, ready.cy, ready.distortion) == (280, 280, 160, 120, ())


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", [-0.25, 0.08, 0.001, -0.002, 0.0]),
        ("rational_polynomial", [0.3, -0.1, 0.001, 0.0, 0.02, 0.6, -0.05, 0.03]),
        ("equidistant", [-0.02, 0.01, -0.003, 0.001]),
    ],
)
def test_rays_are_undistorted_before_k(model: str, d: list[float]) -> None:
    camera = CameraModel.of_info(info(distortion_model=model, d=d), rectified=False)
    points = np.array([[[0.21, -0.13, 1.0]], [[-0.3, 0.2, 1.0]]])
    matrix = np.array([[300.0, 0, 161.5], [0, 290.0, 118.5], [0, 0, 1]])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels, _ = project(points, np.zeros(3), np.zeros(3), matrix, np.array(d))
    for point, (x, y) in zip(points[:, 0], pixels.reshape(-1, 2), strict=True):
        column, row = round(float(x)), round(float(y))
        near = camera.rays(slice(row, row + 1), slice(column, column + 1))[0, 0]
        assert np.allclose(near, point[:2], atol=1 / 290)  # to the pixel that it was rounded to
        plain = CAMERA.rays(slice(row, row + 1), slice(column, column + 1))[0, 0]
        assert not np.allclose(plain, point[:2], atol=1 / 290)


def test_binning_and_region_of_interest_keep_every_ray() -> None:
    whole = CameraModel.of_info(info(), rectified=False)
    part = SimpleNamespace(x_offset=40, y_offset=20, height=200, width=240)
    binned = CameraModel.of_info(info(roi=part, binning_x=2, binning_y=2), rectified=False)
    assert (binned.height, binned.width) == (100, 120)
    (ray,) = binned.rays(slice(30, 31), slice(50, 51))[0]
    block = whole.rays(slice(20 + 60, 20 + 62), slice(40 + 100, 40 + 102))
    assert np.allclose(ray, block.mean(axis=(0, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"k": [0.0] * 9}, "uncalibrated"),
        ({"k": [np.nan, 0, 1, 0, 1, 1, 0, 0, 1]}, "uncalibrated"),
        ({"distortion_model": "thin_prism", "d": [0.1] * 5}, "distortion_model"),
        ({"d": [0.1, 0.2]}, "distortion_size"),
        ({"distortion_model": "equidistant", "d": [0.1] * 5}, "distortion_size"),
    ],
)
def test_calibrations_that_cannot_be_used_are_named(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CameraModelError) as caught:
        CameraModel.of_info(info(**changes), rectified=False)
    assert caught.value.reason == reason
