"""The real clips: what ships is consistent, no other file passes for a listed one, and what cannot be had is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from villa.data.real_clips import listing
from villa.data.real_clips.build import build
from villa.data.real_clips.debian import DebError, read_member
from villa.data.real_clips.excerpts import cut
from villa.data.real_clips.fetching import find_video
from villa.data.real_clips.listing import ABSENT, HELD, SEEN, Clip, Excerpt, RealClipError, Request, Source, list_clips
from villa.data.referring_videos import Expressions

CLIPS = list_clips()
BY_NAME = {clip.name: clip for clip in CLIPS}
WIDTH, HEIGHT, LENGTH = 64, 48, 24  # of the drawn videos
LEVEL = 10  # how much lighter each frame is than the one before


# -- what ships ------------------------------------------------------------------------------------------------------


def test_there_are_clips_requests_and_near_misses_enough_in_both_halves() -> None:
    assert len(CLIPS) >= 8
    for half in (HELD, SEEN):
        of_half = list_clips(half)
        requests = [request for clip in of_half for request in clip.requests]
        assert len(of_half) >= 4
        assert len(requests) >= 50
        assert sum(not request.things for request in requests) >= 12
    assert len(list_clips(HELD)) + len(list_clips(SEEN)) == len(CLIPS) == len(BY_NAME)


def test_what_has_judged_models_before_is_not_held_back() -> None:
    assert {BY_NAME["cup"].half, BY_NAME["box"].half} == {SEEN}
    videos = {half: {clip.source.file for clip in list_clips(half)} for half in (HELD, SEEN)}
    assert not videos[HELD] & videos[SEEN]


def test_another_half_is_refused() -> None:
    with pytest.raises(RealClipError, match="there is no half 'val': wanted one of held, seen"):
        list_clips("val")


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_every_file_is_named_with_its_hash_licence_and_one_place_to_get_it(clip: Clip) -> None:
    source = clip.source
    assert re.fullmatch("[0-9a-f]{64}", source.sha256)
    assert source.licence
    assert source.source
    assert (source.debian is None) != (source.address is None)
    if source.address is not None:
        assert re.search("/[0-9a-f]{40}/", source.address), "a commit, since a branch moves on"


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_excerpts_are_short_and_outlined_over_all_of_their_time(clip: Clip) -> None:
    assert 10 <= clip.excerpt.count <= 40
    assert 5 <= clip.fps <= 10
    assert 2 <= clip.excerpt.count / clip.fps <= 8
    frames = sorted(clip.outlines)
    assert 3 <= len(frames) <= 6
    assert set(frames) <= set(range(clip.excerpt.count))
    assert frames[-1] - frames[0] >= clip.excerpt.count / 2


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_outlines_are_of_listed_things_and_inside_the_picture(clip: Clip) -> None:
    for frame, shown in clip.outlines.items():
        assert set(shown) <= set(clip.things)
        for thing, rings in shown.items():
            points = np.array([point for ring in rings for point in ring])
            assert (points >= 0).all()
            assert (points < (clip.width, clip.height)).all()
            assert all(len(ring) >= 3 for ring in rings)
            mask = clip.mask(thing, frame)
            assert mask is not None
            assert mask.shape == (clip.height, clip.width)
            assert mask.sum() >= 20, f"{clip.name}, frame {frame}: hardly anything of {thing}"
    drawn = {thing for shown in clip.outlines.values() for thing in shown}
    assert drawn == set(clip.things)
    assert all(clip.things.values()), "each thing has words that name it"


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_requests_mean_listed_things_and_are_said_once(clip: Clip) -> None:
    texts = [request.text.lower() for request in clip.requests]
    assert len(set(texts)) == len(texts)
    for request in clip.requests:
        assert request.text.strip() == request.text
        assert set(request.things) <= set(clip.things)
        assert len(set(request.things)) == len(request.things)
        assert bool(request.things) == (request.kind != ABSENT)


def test_no_picture_of_others_ships() -> None:
    folder = Path(listing.__file__).parent
    assert {path.suffix for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts} == {
        ".py",
        ".json",
    }


def test_a_ring_in_a_ring_is_a_hole() -> None:
    square = ((1, 1), (10, 1), (10, 10), (1, 10))
    hole = ((4, 4), (7, 4), (7, 7), (4, 7))
    clip = replace(CLIPS[0], outlines={0: {"it": (square, hole)}}, width=12, height=12)
    mask = clip.mask("it", 0)
    assert mask is not None
    assert mask[2, 2]
    assert not mask[5, 5]
    assert clip.mask("another", 0) is None


# -- drawn videos ----------------------------------------------------------------------------------------------------


def pictures(length: int = LENGTH) -> list[np.ndarray]:
    return [np.full((HEIGHT, WIDTH, 3), LEVEL * number, np.uint8) for number in range(length)]


def write_video(path: Path, length: int = LENGTH) -> Path:
    if path.suffix == ".mp4":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, (WIDTH, HEIGHT))
        for frame in pictures(length):
            writer.write(frame)
        writer.release()
    else:
        first, *rest = (Image.fromarray(frame) for frame in pictures(length))
        first.save(path, save_all=True, append_images=rest, duration=100, lossless=True)
    return path


def a_clip(file: str, content: bytes, name: str = "drawn", half: str = SEEN, **excerpt: int) -> Clip:
    """A clip of a drawn video: a box in the corner of two of its frames."""
    cutting = Excerpt(**{"first": 3, "step": 5, "count": 4, "shrink": 1} | excerpt)
    size = (WIDTH // cutting.shrink, HEIGHT // cutting.shrink)
    box = (((2, 2), (9, 2), (9, 9), (2, 9)),)
    return Clip(
        name,
        half,
        Source(file, hashlib.sha256(content).hexdigest(), None, None, "drawn by this test", "none"),
        cutting,
        6.0,
        *size,
        {"box": ("box", "square")},
        (Request("the box", "name", ("box",)), Request("the ball", ABSENT, ())),
        {0: {"box": box}, 3: {}},
    )


def drawn(folder: Path, file: str, length: int = LENGTH, **excerpt: int) -> Clip:
    folder.mkdir(parents=True, exist_ok=True)
    return a_clip(file, write_video(folder / file, length).read_bytes(), **excerpt)


# -- getting the file ------------------------------------------------------------------------------------------------


def test_a_file_is_found_anywhere_in_a_folder_and_kept(tmp_path: Path) -> None:
    clip = drawn(tmp_path / "downloads/deep/down", "a.mp4")
    (found,) = find_video(clip, tmp_path / "cache", [tmp_path / "empty", tmp_path / "downloads"], fetch=False)
    assert found.is_relative_to(tmp_path / "cache")
    shutil.rmtree(tmp_path / "downloads")
    assert find_video(clip, tmp_path / "cache", fetch=False) == (found,)


def test_what_is_in_a_gzipped_file_is_taken(tmp_path: Path) -> None:
    clip = drawn(tmp_path, "a.mp4")
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.mp4").unlink()
    (found,) = find_video(clip, tmp_path / "cache", [tmp_path], fetch=False)
    assert found.read_bytes() == content


def test_another_file_of_the_name_is_refused_with_both_hashes(tmp_path: Path) -> None:
    clip = drawn(tmp_path, "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"another film")
    seen = hashlib.sha256(b"another film").hexdigest()
    message = (
        f"a.mp4 is another file than the one that was outlined: its SHA-256 is {seen}, wanted {clip.source.sha256}"
    )
    with pytest.raises(RealClipError, match=re.escape(message)):
        find_video(clip, tmp_path / "cache", [tmp_path], fetch=False)
    assert not (tmp_path / "cache").exists()


def test_the_right_file_is_taken_where_another_has_its_name(tmp_path: Path) -> None:
    clip = drawn(tmp_path / "b", "a.mp4")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a.mp4").write_bytes(b"another film")
    (found,) = find_video(clip, tmp_path / "cache", [tmp_path], fetch=False)
    assert found.read_bytes() == (tmp_path / "b/a.mp4").read_bytes()


def test_a_file_in_the_cache_that_was_changed_is_fetched_again(tmp_path: Path) -> None:
    clip = drawn(tmp_path / "downloads", "a.mp4")
    (found,) = find_video(clip, tmp_path / "cache", [tmp_path / "downloads"], fetch=False)
    found.write_bytes(b"cut short")
    assert find_video(clip, tmp_path / "cache", [tmp_path / "downloads"], fetch=False) == (found,)
    assert found.read_bytes() == (tmp_path / "downloads/a.mp4").read_bytes()


def test_nothing_is_asked_where_nothing_may_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(RealClipError, match=r"cup\.mp4 is in none of the folders given, and nothing may be fetched"):
        find_video(BY_NAME["cup"], tmp_path, [tmp_path], fetch=False)


def at(clip: Clip, address: str) -> Clip:
    return replace(clip, source=replace(clip.source, address=address))


def test_a_file_is_downloaded_from_its_address(tmp_path: Path) -> None:
    clip = drawn(tmp_path / "site", "a.mp4")
    (found,) = find_video(at(clip, (tmp_path / "site/a.mp4").as_uri()), tmp_path / "cache")
    assert found.read_bytes() == (tmp_path / "site/a.mp4").read_bytes()


def test_an_address_that_has_another_file_or_none_is_named(tmp_path: Path) -> None:
    clip = drawn(tmp_path, "a.mp4")
    (tmp_path / "page.html").write_bytes(b"<h1>not found</h1>")
    with pytest.raises(RealClipError, match=r"page\.html is another file"):
        find_video(at(clip, (tmp_path / "page.html").as_uri()), tmp_path / "cache")
    with pytest.raises(RealClipError, match=r"nowhere\.mp4 cannot be had"):
        find_video(at(clip, (tmp_path / "nowhere.mp4").as_uri()), tmp_path / "cache")


def test_pictures_are_one_file_each_and_all_have_to_be_there(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    contents = []
    for number in (3, 8, 13, 18):
        path = site / f"frame_{number:03d}.png"
        cv2.imwrite(str(path), pictures()[number])
        contents.append(path.read_bytes())
    clip = a_clip("frame_{:03d}.png", b"".join(contents))
    found = find_video(clip, tmp_path / "cache", [site], fetch=False)
    assert [path.read_bytes() for path in found] == contents
    assert [int(frame[0, 0, 0]) for frame in cut(clip, found)] == [30, 80, 130, 180]
    from_web = find_video(at(clip, f"{site.as_uri()}/"), tmp_path / "other cache")
    assert [path.read_bytes() for path in from_web] == contents
    (site / "frame_013.png").unlink()
    with pytest.raises(RealClipError, match=r"frame_013\.png is not there, though frame_003\.png beside it is"):
        find_video(clip, tmp_path / "third cache", [site], fetch=False)


# -- Debian packages -------------------------------------------------------------------------------------------------


def write_deb(path: Path, files: dict[str, bytes], packing: str = "xz") -> None:
    """As dpkg-deb lays it: deb(5)."""
    with path.open("wb") as stream:
        stream.write(b"!<arch>\n")
        for name, members in (("control.tar.xz", {"./control": b"Package: x\n"}), (f"data.tar.{packing}", files)):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode=f"w:{packing if packing in ('xz', 'gz') else 'xz'}") as archive:
                for inside, content in members.items():
                    entry = tarfile.TarInfo(inside)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            content = buffer.getvalue()
            stream.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            stream.write(content + b"\n" * (len(content) % 2))


@pytest.mark.parametrize("packing", ["xz", "gz"])
def test_a_file_is_read_out_of_a_package_whatever_its_folder(packing: str, tmp_path: Path) -> None:
    write_deb(tmp_path / "x_1_all.deb", {"./usr/a/b.txt": b"no", "./usr/share/doc/x/a.mp4.gz": b"yes"}, packing)
    member, content = read_member(tmp_path / "x_1_all.deb", ("a.mp4", "a.mp4.gz"))
    assert (member, content) == ("./usr/share/doc/x/a.mp4.gz", b"yes")
    with pytest.raises(DebError, match=r"x_1_all\.deb holds no file c\.mp4"):
        read_member(tmp_path / "x_1_all.deb", ("c.mp4",))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")
def test_a_package_of_dpkg_is_read(tmp_path: Path) -> None:
    (tmp_path / "x/DEBIAN").mkdir(parents=True)
    (tmp_path / "x/DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.example>\nDescription: x\n"
    )
    (tmp_path / "x/usr").mkdir()
    (tmp_path / "x/usr/a.mp4").write_bytes(b"yes")
    subprocess.run(["dpkg-deb", "-Zxz", "--build", "x", "x_1_all.deb"], cwd=tmp_path, check=True, capture_output=True)
    assert read_member(tmp_path / "x_1_all.deb", ("a.mp4",))[1] == b"yes"


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"PK\x03\x04")
    with pytest.raises(DebError, match="no Debian package: wanted an ar archive"):
        read_member(tmp_path / "x.deb", ("a.mp4",))
    (tmp_path / "y.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(DebError, match=r"holds no data\.tar"):
        read_member(tmp_path / "y.deb", ("a.mp4",))


def in_package(clip: Clip) -> Clip:
    return replace(clip, source=replace(clip.source, debian="x"))


def test_a_package_that_was_downloaded_serves_without_a_network(tmp_path: Path) -> None:
    clip = in_package(drawn(tmp_path, "a.mp4"))
    held = tmp_path / "cache/files/x"
    held.mkdir(parents=True)
    content = (tmp_path / "a.mp4").read_bytes()
    write_deb(held / "x_1_all.deb", {"./usr/share/a.mp4.gz": gzip.compress(content)})
    (found,) = find_video(clip, tmp_path / "cache")
    assert found.read_bytes() == content
    write_deb(held / "x_1_all.deb", {"./usr/share/a.mp4": b"of a later release"})
    found.unlink()
    with pytest.raises(RealClipError, match=r"x_1_all\.deb: \./usr/share/a\.mp4 is another file"):
        find_video(clip, tmp_path / "cache")


def test_without_apt_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RealClipError, match=r"cup\.mp4 is in Debian's package opencv-doc, .* no apt-get"):
        find_video(BY_NAME["cup"], tmp_path / "cache")


def test_what_apt_complains_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package opencv-doc' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(RealClipError, match=r"could not download opencv-doc: E: Unable to locate .*apt-get upd"):
        find_video(BY_NAME["cup"], tmp_path / "cache")


# -- cutting ---------------------------------------------------------------------------------------------------------


def levels(frames: Sequence[np.ndarray]) -> list[int]:
    return [round(float(frame.mean()) / LEVEL) for frame in frames]


@pytest.mark.parametrize("file", ["a.mp4", "a.gif", "a.webp"])
def test_an_excerpt_holds_the_frames_that_the_list_says(file: str, tmp_path: Path) -> None:
    clip = drawn(tmp_path, file)
    frames = list(cut(clip, [tmp_path / file]))
    assert clip.excerpt.frames == (3, 8, 13, 18)
    assert levels(frames) == [3, 8, 13, 18]
    assert all(frame.shape == (HEIGHT, WIDTH, 3) for frame in frames)


def test_an_excerpt_is_shrunk(tmp_path: Path) -> None:
    clip = drawn(tmp_path, "a.mp4", shrink=2)
    assert {frame.shape for frame in cut(clip, [tmp_path / "a.mp4"])} == {(HEIGHT // 2, WIDTH // 2, 3)}


def test_colours_keep_their_order(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (250, 10 * number, 0)) for number in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    clip = a_clip("a.gif", (tmp_path / "a.gif").read_bytes(), first=0, step=1)
    blue, _, red = next(cut(clip, [tmp_path / "a.gif"]))[0, 0]
    assert (blue, red) == (0, 250)


def test_a_video_that_is_too_short_is_refused(tmp_path: Path) -> None:
    clip = drawn(tmp_path, "a.mp4", length=15)
    with pytest.raises(RealClipError, match="gave 3 of the 4 frames wanted, the last of them number 18"):
        list(cut(clip, [tmp_path / "a.mp4"]))


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    clip = replace(drawn(tmp_path, "a.mp4"), width=32)
    with pytest.raises(RealClipError, match="frames of 64x48 px, the outlines are of 32x48 px"):
        list(cut(clip, [tmp_path / "a.mp4"]))


@pytest.mark.parametrize("file", ["a.gif", "a.webp", "a.mp4"])
def test_what_is_no_video_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"<h1>not found</h1>")
    with pytest.raises(RealClipError, match=f"{file} (does not decode|gave 0 of the 4 frames)"):
        list(cut(a_clip(file, b""), [tmp_path / file]))


# -- a half ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> list[Clip]:
    """Two clips of one half, of which only the first can be had."""
    first = drawn(tmp_path / "downloads", "a.mp4")
    return [first, replace(a_clip("b.mp4", b"never seen"), name="lost")]


def test_a_half_is_read_as_every_set_in_its_format(two: list[Clip], tmp_path: Path) -> None:
    build(tmp_path / "cache", two[:1], [tmp_path / "downloads"], fetch=False)
    data = Expressions(tmp_path / "cache/seen")
    (video,) = data
    assert (video.name, video.fps, len(video.frames), video.scored) == ("drawn", 6.0, 4, (0, 3))
    assert [(e.text, e.kind, e.masks) for e in video.expressions] == [
        ("the box", "name", ("drawn/box",)),
        ("the ball", ABSENT, ()),
    ]
    assert levels([data.rgb(video, t) for t in range(4)]) == [3, 8, 13, 18]
    assert np.array_equal(data.mask("drawn/box", 0, (HEIGHT, WIDTH)), two[0].mask("box", 0))
    assert not data.mask("drawn/box", 3, (HEIGHT, WIDTH)).any()  # outlined, and not visible


def test_a_clip_that_cannot_be_had_is_left_out_by_name(two: list[Clip], tmp_path: Path) -> None:
    there, lost = build(tmp_path / "cache", two, [tmp_path / "downloads"], fetch=False)
    assert there.reason is None
    assert lost.clip.name == "lost"
    assert "b.mp4 is in none of the folders given" in (lost.reason or "")
    assert [video.name for video in Expressions(tmp_path / "cache/seen")] == ["drawn"]
    assert not (tmp_path / "cache/seen/JPEGImages/lost").exists()
    meta = (tmp_path / "cache/seen/meta_expressions.json").read_text()
    assert '"missing":{"lost":"b.mp4 is in none' in meta


def test_a_clip_that_was_had_before_does_not_stand_for_one_that_is_left_out(two: list[Clip], tmp_path: Path) -> None:
    build(tmp_path / "cache", two, [tmp_path / "downloads"], fetch=False)
    changed = replace(two[0], source=replace(two[0].source, sha256="0" * 64))
    extra = replace(two[0], name="extra")
    build(tmp_path / "cache", [changed, extra], [tmp_path / "downloads"], fetch=False)
    assert sorted(path.name for path in (tmp_path / "cache/seen/JPEGImages").iterdir()) == ["extra"]


def test_where_no_clip_can_be_had_each_is_named_with_its_reason(two: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "downloads/a.mp4").write_bytes(b"another film")
    with pytest.raises(RealClipError, match=r"no clip of the half seen.*\n  drawn: .*another.*\n  lost: b\.mp4 is"):
        build(tmp_path / "cache", two, [tmp_path / "downloads"], fetch=False)
