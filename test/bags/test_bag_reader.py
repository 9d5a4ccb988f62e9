"""Bags: what is in them, and what is wrong with them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import painted
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from small_bags import COMPRESSED_TOPIC, IMAGE_TOPIC, PERIOD_NS, START_NS, TYPES, jpeg, raw_image, stamp, write_bag
from videos import packets

from villa_ros.bags.reader import Bag, BagError, header_stamp
from villa_ros.bags.typestore import villa_typestore
from villa_ros.conversions.events import command_message
from villa_ros.pipeline.request import Action, Request


def frames_of(path: Path, topic: str = IMAGE_TOPIC) -> list[int]:
    with Bag(path) as bag:
        return [frame.header.stamp_ns for frame in bag.frames(topic, "camera")]


def test_frames_keep_header_size_and_pixels(bag: Path) -> None:
    with Bag(bag) as opened:
        frames = list(opened.frames(IMAGE_TOPIC, "left"))
    assert [frame.header.stamp_ns for frame in frames] == [stamp(index) for index in range(20)]
    assert {(frame.camera, frame.header.frame_id, frame.height, frame.width) for frame in frames} == {
        ("left", "optical", 48, 64)
    }
    assert np.array_equal(frames[7].rgb(), painted(red=(9, 10, 12, 12), blue=(40, 30, 10, 8)))


def test_the_mcap_file_alone_is_as_good_as_its_folder(bag: Path) -> None:
    assert frames_of(bag / "bag.mcap") == frames_of(bag)


def test_a_folder_without_metadata_is_opened_when_it_holds_one_bag_file(bag: Path) -> None:
    (bag / "metadata.yaml").unlink()
    assert len(frames_of(bag)) == 20


def test_frames_come_in_the_order_of_their_stamps(tmp_path: Path) -> None:
    order = [0, 2, 1, 3, 5, 4]
    extra = [(IMAGE_TOPIC, stamp(at), raw_image(index, painted())) for at, index in enumerate(order)]
    path = write_bag(tmp_path / "late", frames=0, extra=extra)
    assert frames_of(path) == [stamp(index) for index in range(6)]


def test_bad_images_are_left_out_and_counted_by_reason(tmp_path: Path) -> None:
    picture = painted(red=(2, 2, 9, 9))
    wrong = raw_image(3, picture)
    wrong.step = 5
    extra = [
        (COMPRESSED_TOPIC, stamp(0), jpeg(0, picture)),
        (COMPRESSED_TOPIC, stamp(1), jpeg(1, picture, cut=200)),
        (COMPRESSED_TOPIC, stamp(2), jpeg(2, picture)),
    ]
    path = write_bag(tmp_path / "bad", frames=0, extra=[*extra, (IMAGE_TOPIC, stamp(3), wrong)])
    with Bag(path) as bag:
        told: list[str] = []
        kept = [
            frame.header.stamp_ns
            for topic in (COMPRESSED_TOPIC, IMAGE_TOPIC)
            for frame in bag.frames(topic, "camera", lambda log_ns, bad: told.append(str(bad)))
        ]
        assert kept == [stamp(0), stamp(2)]
        assert bag.bad_images == {"truncated": 1, "step": 1}
        assert len(told) == 2


def test_commands_come_in_stamp_order_and_missing_fields_are_filled(tmp_path: Path) -> None:
    given = [
        Request("", "the blue box", stamp_ns=stamp(9), camera=""),
        Request("first", "the red box", stamp_ns=stamp(3), conversation_id="talk", action=Action.FOLLOW_UP),
    ]
    path = write_bag(tmp_path / "bag", commands=given)
    with Bag(path) as bag:
        first, second = bag.commands("/command", "left")
    assert (first.request_id, first.text, first.action) == ("first", "the red box", Action.FOLLOW_UP)
    assert first.conversation_id == "talk"
    assert (second.request_id, second.camera, second.stamp_ns) == ("command-2", "left", stamp(9))


def test_a_command_without_a_stamp_has_the_time_it_was_recorded(tmp_path: Path) -> None:
    from villa_ros.conversions.events import command_message

    message = command_message(Request("a", "the red box", stamp_ns=0), TYPES)
    path = write_bag(tmp_path / "bag", extra=[("/command", stamp(4), message)])
    with Bag(path) as bag:
        assert [request.stamp_ns for request in bag.commands("/command", "camera")] == [stamp(4)]


def test_a_raw_topic_is_preferred_to_its_compressed_twin_and_depth_is_no_picture(tmp_path: Path) -> None:
    picture = painted()
    extra = [
        (COMPRESSED_TOPIC, stamp(0), jpeg(0, picture)),
        ("/camera/depth/image", stamp(0), raw_image(0, picture)),
    ]
    path = write_bag(tmp_path / "twins", frames=2, extra=extra)
    with Bag(path) as bag:
        assert bag.choose_image_topic() == IMAGE_TOPIC
        assert bag.choose_image_topic(COMPRESSED_TOPIC) == COMPRESSED_TOPIC


def test_several_cameras_must_be_chosen_from(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "two", frames=2, topics=("/left/image", "/right/image"))
    with Bag(path) as bag, pytest.raises(BagError, match=r"--camera-topic: /left/image, /right/image"):
        bag.choose_image_topic()


def test_a_missing_topic_is_answered_with_those_there_are(bag: Path) -> None:
    with Bag(bag) as opened, pytest.raises(BagError, match=r"/nose is not in the bag; its image topics are /camera"):
        opened.choose_image_topic("/nose")


def test_a_bag_without_images_lists_what_it_holds(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", frames=0, commands=[Request("a", "the red box", stamp_ns=stamp(0))])
    with Bag(path) as bag, pytest.raises(BagError, match=r"it holds /command \(villa_msgs/msg/Command\)"):
        bag.choose_image_topic()


def test_a_topic_of_another_type_says_its_type(bag: Path) -> None:
    with Bag(bag) as opened, pytest.raises(BagError, match=r"/command is villa_msgs/msg/Command"):
        opened.choose_image_topic("/command")


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("gone.mcap", None, "no bag at"),
        ("notes.txt", b"hello", "is no bag"),
        ("text.mcap", b"hello" * 100, "begins with 68 65 6c 6c 6f"),
        ("empty.mcap", b"", "is empty"),
        ("text.db3", b"hello" * 100, "begins with 68 65 6c 6c 6f"),
        ("magic.mcap", b"\x89MCAP0\r\n", "cannot be read"),
    ],
)
def test_what_is_no_bag_is_said_so(tmp_path: Path, name: str, content: bytes | None, wanted: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BagError, match=wanted), Bag(path):
        pass


def test_an_empty_folder_is_no_bag(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"holds no bag file .* and no metadata\.yaml"), Bag(tmp_path):
        pass


def test_damage_inside_a_bag_is_an_error_where_it_is_met(bag: Path) -> None:
    data = bytearray((bag / "bag.mcap").read_bytes())
    at = data.find(b"rgb8")
    while at >= 0:  # the string's own length is in front of it
        data[at - 4 : at] = b"\xff\xff\xff\x7f"
        at = data.find(b"rgb8", at + 4)
    damaged = bag.parent / "damaged.mcap"
    damaged.write_bytes(data)
    with pytest.raises(BagError, match=r"record it again|cannot be read"):
        frames_of(damaged)


def test_sqlite_bags_are_read_as_well(tmp_path: Path) -> None:
    store = villa_typestore()
    with Writer(tmp_path / "old", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection(IMAGE_TOPIC, "sensor_msgs/msg/Image", typestore=store)
        for index in range(3):
            data = store.serialize_cdr(raw_image(index, painted()), "sensor_msgs/msg/Image")
            writer.write(connection, stamp(index), data)
    assert frames_of(tmp_path / "old") == [stamp(0), stamp(1), stamp(2)]


def test_an_unknown_message_type_names_its_topic(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg("int32 value\n", "odd_msgs/msg/Odd"))
    path = tmp_path / "odd"
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/odd", "odd_msgs/msg/Odd", typestore=store)
        message = store.types["odd_msgs/msg/Odd"](value=3)
        writer.write(connection, stamp(0), store.serialize_cdr(message, "odd_msgs/msg/Odd"))
    database = next(path.glob("*.db3"))
    shutil.copy(database, tmp_path / "plain.db3")
    with sqlite3.connect(tmp_path / "plain.db3") as content:  # as recorders before Iron wrote it
        content.execute("DELETE FROM message_definitions")
    with Bag(tmp_path / "plain.db3") as bag, pytest.raises(BagError, match=r"/odd holds odd_msgs/msg/Odd, which"):
        list(bag.messages(["/odd"]))


def test_the_stamp_of_a_serialized_message_is_read_without_its_type() -> None:
    store = villa_typestore()
    data = store.serialize_cdr(raw_image(3, painted()), "sensor_msgs/msg/Image")
    assert header_stamp(bytes(data), "sensor_msgs/msg/Image") == stamp(3)
    with pytest.raises(BagError, match="too short"):
        header_stamp(b"\0\1\0\0", "sensor_msgs/msg/Image")


PACKET, VIDEO = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "foxglove_msgs/msg/CompressedVideo"
DEFINITIONS = {
    PACKET: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data\n",
    VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}


@pytest.mark.parametrize("kind", [PACKET, VIDEO])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_video_in_a_bag_begins_at_a_key_frame_and_what_is_lost_is_told(tmp_path: Path, kind: str, plugin: Any) -> None:
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg(DEFINITIONS[kind], kind))
    pictures = [painted(96, 128, red=(4 + 3 * index, 20, 24, 24)) for index in range(30)]
    sent = dict(enumerate(packets(pictures)))
    for lost in (0, 1, 14):
        del sent[lost]
    with Writer(tmp_path / "bag", version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection("/camera/video", kind, typestore=store)
        for index, packet in sent.items():
            time = store.types["builtin_interfaces/msg/Time"](*divmod(stamp(index), 10**9))
            data = np.frombuffer(packet, np.uint8)
            if kind == VIDEO:
                message = store.types[kind](time, "optical", data, "h264")
            else:
                header = store.types["std_msgs/msg/Header"](time, "optical")
                message = store.types[kind](header, 128, 96, "h264;yuv420p;bgr8;bgr8", index, 0, False, data)
            writer.write(connection, stamp(index), store.serialize_cdr(message, kind))
    with Bag(tmp_path / "bag") as bag:
        assert bag.choose_image_topic() == "/camera/video"
        frames = list(bag.frames("/camera/video", "camera"))
        assert bag.bad_images == {"no_key_frame": 8, "lost_packets": 5}
        assert bag.stamp_range("/camera/video") == (stamp(2), stamp(29))
    assert [frame.header.stamp_ns for frame in frames] == [stamp(index) for index in (*range(10, 14), *range(20, 30))]
    assert {frame.header.frame_id for frame in frames} == {"optical"}
    for frame, index in zip(frames, (*range(10, 14), *range(20, 30)), strict=True):
        assert np.abs(frame.rgb().astype(int) - pictures[index]).mean() < 12


@pytest.mark.parametrize("bad", [-START_NS / PERIOD_NS, 27.0, 1e6])
def test_one_bad_stamp_is_left_out_and_counted(tmp_path: Path, bad: float) -> None:
    """0, two seconds ahead, and a day."""
    stamps = [float(index) for index in range(20)]
    stamps[7] = bad
    extra = [(IMAGE_TOPIC, stamp(index), raw_image(at, painted())) for index, at in enumerate(stamps)]
    path = write_bag(tmp_path / "bad", frames=0, extra=extra)
    told: list[str] = []
    with Bag(path) as bag:
        found = [
            frame.header.stamp_ns for frame in bag.frames(IMAGE_TOPIC, "camera", lambda at, bad: told.append(str(bad)))
        ]
        assert bag.bad_images == {"bad_stamp": 1}
    assert found == [stamp(index) for index in range(20) if index != 7]
    assert "does not follow those before and after it" in told[0]


def test_a_nodes_stops_go_with_its_commands(tmp_path: Path) -> None:
    asked = Request("one", "the red mug", stamp_ns=stamp(2))
    stops = [
        (topic, stamp(row), command_message(Request(name, "", Action.STOP_ALL, stamp_ns=stamp(row)), TYPES))
        for topic, row, name in (("/stop", 5, "halt"), ("/elsewhere/stop", 6, "not ours"))
    ]
    with Bag(write_bag(tmp_path / "bag", commands=[asked], extra=stops[:1])) as bag:
        topic = bag.choose_command_topic(None, "--command-topic")
        assert topic == "/command"
        assert [request.request_id for request in bag.commands(topic, "camera")] == ["one", "halt"]
    with Bag(write_bag(tmp_path / "stops", extra=stops[:1])) as bag:
        assert bag.choose_command_topic(None, "--command-topic") == "/stop"
        assert [request.request_id for request in bag.commands("/stop", "camera")] == ["halt"]
    with (
        Bag(write_bag(tmp_path / "two", commands=[asked], extra=stops)) as bag,
        pytest.raises(BagError, match="several command topics"),
    ):
        bag.choose_command_topic(None, "--command-topic")
