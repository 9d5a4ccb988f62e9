"""The forms that bags come in: each holds the same messages, and each gives all of them."""

from __future__ import annotations

import re
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from fakes import painted
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from small_bags import IMAGE_TOPIC, raw_image, stamp

from villa_ros.bags.reader import Bag, BagError
from villa_ros.bags.typestore import villa_typestore

IMAGE = "sensor_msgs/msg/Image"
COUNT = 60
STAMPS = [stamp(index) for index in range(COUNT)]


def serialized(index: int) -> bytes:
    return bytes(villa_typestore().serialize_cdr(raw_image(index, painted()), IMAGE))


def read(path: Path, topic: str = IMAGE_TOPIC) -> list[int]:
    with Bag(path) as bag:
        assert bag.count(topic) == COUNT
        found = [frame.header.stamp_ns for frame in bag.frames(topic, "camera")]
        assert bag.faults == []
        assert (bag.start_ns, bag.duration_s) == (STAMPS[0], pytest.approx((STAMPS[-1] - STAMPS[0]) / 1e9))
    return found


def image_schema(writer: McapWriter) -> int:
    text, _ = villa_typestore().generate_msgdef(IMAGE, ros_version=2)
    return writer.register_schema(IMAGE, "ros2msg", text.encode())


def mcap(
    path: Path,
    *,
    order: list[int] | None = None,
    profile: str = "ros2",
    extra: Callable[[McapWriter], None] | None = None,
    **how: object,
) -> Path:
    writer = McapWriter(str(path), chunk_size=20_000, **how)
    writer.start(profile=profile, library="test")
    channel = writer.register_channel(IMAGE_TOPIC, "cdr", image_schema(writer))
    for place, index in enumerate(order or range(COUNT)):
        if extra is not None and place == 3:
            extra(writer)
        writer.add_message(channel, STAMPS[index], serialized(index), STAMPS[index])
    writer.finish()
    return path


def rosbag(path: Path, plugin: StoragePlugin, mode: CompressionMode | None = None) -> Path:
    store = villa_typestore()
    writer = Writer(path, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(IMAGE_TOPIC, IMAGE, typestore=store)
        for index in range(COUNT):
            writer.write(connection, STAMPS[index], serialized(index))
    return path


# -- MCAP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4])
@pytest.mark.parametrize("index", [IndexType.ALL, IndexType.CHUNK, IndexType.MESSAGE, IndexType.NONE])
def test_an_mcap_file_gives_all_whatever_of_an_index_it_has(tmp_path, compression, index) -> None:
    assert read(mcap(tmp_path / "bag.mcap", compression=compression, index_types=index)) == STAMPS


@pytest.mark.parametrize(
    "how",
    [
        {"use_chunking": False},
        {"use_statistics": False},
        {"repeat_channels": False},
        {"repeat_schemas": False},
        {"use_summary_offsets": False},
        {"enable_crcs": False},
        {"profile": ""},
    ],
)
def test_an_mcap_file_gives_all_whatever_its_writer_left_out(tmp_path, how) -> None:
    assert read(mcap(tmp_path / "bag.mcap", **how)) == STAMPS


@pytest.mark.parametrize("how", [{}, {"index_types": IndexType.NONE}, {"use_chunking": False}])
def test_messages_come_in_the_order_of_their_log_times(tmp_path, how) -> None:
    """Also where a chunk holds some that are older than all of the chunk before it."""
    order = [*range(20, 40), *range(20), *range(40, COUNT)]
    with Bag(mcap(tmp_path / "bag.mcap", order=order, **how)) as bag:
        assert [log_ns for _, _, log_ns, _ in bag.raw([IMAGE_TOPIC])] == STAMPS
        span = (STAMPS[15], STAMPS[45])
        assert [log_ns for _, _, log_ns, _ in bag.raw([IMAGE_TOPIC], span)] == STAMPS[15:45]


def test_two_readings_of_one_bag_do_not_disturb_each_other(tmp_path) -> None:
    for how in ({}, {"index_types": IndexType.NONE}):
        with Bag(mcap(tmp_path / "bag.mcap", **how)) as bag:
            pairs = zip(bag.raw([IMAGE_TOPIC]), bag.raw([IMAGE_TOPIC]), strict=True)
            assert [(one[2], other[2]) for one, other in pairs] == [(at, at) for at in STAMPS]


def _foreign(name: str, encoding: str, schema: str, text: bytes) -> Callable[[McapWriter], None]:
    def add(writer: McapWriter) -> None:
        number = writer.register_schema(name, schema, text)
        channel = writer.register_channel("/foreign", encoding, number)
        writer.add_message(channel, STAMPS[2], b"\x0a\x03abc", STAMPS[2])

    return add


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        (("foxglove.SceneUpdate", "protobuf", "protobuf", b"\x0a\xff\x00"), "foxglove.SceneUpdate as protobuf"),
        (("State", "json", "jsonschema", b"{not json"), "State as json"),
        (("odd_msgs/msg/Odd", "cdr", "ros2msg", b"int32[ value\n"), "odd_msgs/msg/Odd"),
        (("odd_msgs/msg/Odd", "cdr", "ros2msg", b"wstring<=5 name\n"), "odd_msgs/msg/Odd"),
        (("odd_msgs/msg/Odd", "cdr", "ros2idl", b"module odd {"), "odd_msgs/msg/Odd"),
    ],
)
@pytest.mark.parametrize("index", [IndexType.ALL, IndexType.NONE])
def test_a_topic_that_nobody_asks_for_does_not_matter_and_is_named_where_it_is(tmp_path, foreign, said, index) -> None:
    path = mcap(tmp_path / "bag.mcap", extra=_foreign(*foreign), index_types=index)
    assert read(path) == STAMPS
    with Bag(path) as bag:
        assert bag.topics == {IMAGE_TOPIC: IMAGE, "/foreign": said}
        with pytest.raises(BagError, match=f"topic /foreign is {said}"):
            bag.choose_image_topic("/foreign")
        if said.endswith("Odd"):
            with pytest.raises(BagError, match=r"topic /foreign holds odd_msgs/msg/Odd, whose definition"):
                list(bag.messages(["/foreign"]))
        else:
            assert list(bag.raw(["/foreign"])) == []  # nothing that could be taken for a message


def test_a_channel_without_a_schema_does_not_matter(tmp_path) -> None:
    def add(writer: McapWriter) -> None:
        writer.add_message(writer.register_channel("/bytes", "", 0), STAMPS[2], b"abc", STAMPS[2])

    path = mcap(tmp_path / "bag.mcap", extra=add)
    assert read(path) == STAMPS
    with Bag(path) as bag:
        assert bag.topics["/bytes"] == "no type as bytes"


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.97])
def test_of_an_mcap_file_that_was_cut_off_the_beginning_is_read_and_the_rest_told(tmp_path, share, compression) -> None:
    whole = mcap(tmp_path / "whole.mcap", compression=compression).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with Bag(cut) as bag:
        found = [frame.header.stamp_ns for frame in bag.frames(IMAGE_TOPIC, "camera")]
        (fault,) = bag.faults
    assert found == STAMPS[: len(found)]
    assert share - 0.15 < len(found) / COUNT <= 1
    assert f"of {len(cut.read_bytes())} bytes: the {len(found)} messages before that" in fault
    assert "mcap recover cut.mcap" in fault


def test_damage_in_the_middle_costs_what_follows_and_is_told(tmp_path) -> None:
    data = bytearray(
        mcap(tmp_path / "bag.mcap", compression=CompressionType.ZSTD, index_types=IndexType.NONE).read_bytes()
    )
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    with Bag(path) as bag:
        found = [frame.header.stamp_ns for frame in bag.frames(IMAGE_TOPIC, "camera")]
        assert found == STAMPS[: len(found)]
        assert 0 < len(found) < COUNT
        assert "damaged" in bag.faults[0]


# -- SQLite ------------------------------------------------------------------------------------------------------------

_RECORDER = """
import os, sqlite3, sys
base = sqlite3.connect(sys.argv[1])
base.execute("PRAGMA journal_mode=WAL"); base.execute("PRAGMA wal_autocheckpoint=0")
rows = base.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id").fetchall()
base.execute("DELETE FROM messages"); base.commit()
base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
for row in rows[:10]:
    base.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row)
base.commit(); base.execute("PRAGMA wal_checkpoint(FULL)")
for row in rows[10:]:
    base.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row)
base.commit()
os._exit(9)  # it crashes
"""


@pytest.fixture
def crashed(tmp_path) -> Path:
    """Most messages lie in the write-ahead log."""
    folder = rosbag(tmp_path / "bag", StoragePlugin.SQLITE3)
    file = next(folder.glob("*.db3"))
    assert subprocess.run([sys.executable, "-c", _RECORDER, str(file)], check=False).returncode == 9
    assert file.with_name(file.name + "-wal").stat().st_size > 100_000
    return folder


def test_what_a_crashed_recorder_left_in_its_log_is_read(crashed) -> None:
    assert read(crashed) == STAMPS
    assert read(next(crashed.glob("*.db3"))) == STAMPS


def test_the_same_where_nothing_may_be_written(crashed, tmp_path) -> None:
    for side in crashed.glob("*-shm"):
        side.unlink()
    crashed.chmod(0o555)
    try:
        assert read(crashed) == STAMPS
    finally:
        crashed.chmod(0o755)


def test_a_bag_is_not_changed_by_reading_it(crashed) -> None:
    before = {file.name: file.read_bytes() for file in crashed.iterdir() if file.suffix != ".db3-shm"}
    read(crashed)
    assert {file.name: file.read_bytes() for file in crashed.iterdir() if file.suffix != ".db3-shm"} == before


def test_an_sqlite_file_that_is_no_bag_and_one_that_is_damaged(tmp_path) -> None:
    other = tmp_path / "other.db3"
    with sqlite3.connect(other) as base:
        base.execute("CREATE TABLE people (name TEXT)")
    with pytest.raises(BagError, match="without the tables of a bag"), Bag(other):
        pass
    whole = next(rosbag(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3")).read_bytes()
    cut = tmp_path / "cut.db3"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BagError, match="ros2 bag reindex"), Bag(cut) as bag:
        list(bag.raw())


# -- packed, in several files, with and without metadata ---------------------------------------------------------------


def _pack(file: Path) -> None:
    file.with_name(file.name + ".zstd").write_bytes(zstandard.ZstdCompressor().compress(file.read_bytes()))
    file.unlink()


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [None, CompressionMode.MESSAGE, CompressionMode.FILE])
def test_packed_by_message_or_by_file_with_and_without_metadata(tmp_path, mode, plugin, metadata) -> None:
    if plugin == StoragePlugin.MCAP and mode == CompressionMode.MESSAGE:
        mode = None  # its chunks are packed instead
    folder = rosbag(tmp_path / "bag", plugin, mode)
    if not metadata:
        (folder / "metadata.yaml").unlink()
    assert read(folder) == STAMPS
    (file,) = [file for file in folder.iterdir() if file.suffix != ".yaml"]
    assert read(file) == STAMPS
    nameless = shutil.copy(file, tmp_path / "recording")
    assert read(Path(nameless)) == STAMPS  # known by its bytes


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_bag_in_several_files(tmp_path, metadata, packed) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    cuts = [0, 25, 26, COUNT]
    names = []
    for number, (first, end) in enumerate(pairwise(cuts)):
        file = mcap(folder / f"bag_{number}.mcap", order=list(range(first, end)))
        names.append(file.name + (".zstd" if packed else ""))
        if packed:
            _pack(file)
    if metadata:
        listed = "\n".join(f"  - {name}" for name in names)
        text = f"rosbag2_bagfile_information:\n  version: 9\n  relative_file_paths:\n{listed}\n"
        (folder / "metadata.yaml").write_text(text)
    assert read(folder) == STAMPS


def test_a_missing_part_is_told_and_the_others_are_read(tmp_path) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    mcap(folder / "bag_0.mcap", order=list(range(30)))
    names = ["bag_0.mcap", "bag_1.mcap"]
    listed = "\n".join(f"  - {name}" for name in names)
    (folder / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  relative_file_paths:\n{listed}\n")
    with Bag(folder) as bag:
        assert bag.count(IMAGE_TOPIC) == 30
        assert bag.faults == ["of 2 files that metadata.yaml names, bag_1.mcap are missing: what they hold is not read"]
    (folder / "bag_0.mcap").unlink()
    with pytest.raises(BagError, match=r"none of its files are there .* copy the whole folder"), Bag(folder):
        pass


@pytest.mark.parametrize("text", ["", "a: [", "rosbag2_bagfile_information: 3", "\0\1\2"])
def test_metadata_that_cannot_be_read_is_told_and_done_without(tmp_path, text) -> None:
    folder = rosbag(tmp_path / "bag", StoragePlugin.MCAP)
    (folder / "metadata.yaml").write_text(text)
    with Bag(folder) as bag:
        assert bag.count(IMAGE_TOPIC) == COUNT
        assert "ros2 bag reindex" in bag.faults[0]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_of_a_packed_file_that_was_cut_off_the_beginning_is_read(tmp_path, share) -> None:
    file = mcap(tmp_path / "bag.mcap", index_types=IndexType.NONE, compression=CompressionType.NONE)
    packer = zstandard.ZstdCompressor(level=1)
    packed = b"".join(packer.compress(part) for part in (file.read_bytes()[:90_000], file.read_bytes()[90_000:]))
    cut = tmp_path / "bag.mcap.zstd"
    cut.write_bytes(packed)
    assert read(cut) == STAMPS  # of two frames
    cut.write_bytes(packed[: int(len(packed) * share)])
    with Bag(cut) as bag:
        found = [frame.header.stamp_ns for frame in bag.frames(IMAGE_TOPIC, "camera")]
        assert found == STAMPS[: len(found)]
        assert len(found) > 3
        assert bag.faults[0] == "bag.mcap.zstd was cut off: what can be unpacked of it is read"
    cut.write_bytes(packed[:4] + bytes(60))
    with pytest.raises(BagError, match=r"cannot be unpacked|is empty"), Bag(cut):
        pass


def test_a_bag_of_ros_1_names_its_converter(tmp_path) -> None:
    path = tmp_path / "old.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    with pytest.raises(BagError, match="ROS 1: convert it with: rosbags-convert"), Bag(path):
        pass


def test_definitions_of_the_bag_come_first_and_a_wrong_one_is_told(tmp_path) -> None:
    folder = rosbag(tmp_path / "bag", StoragePlugin.SQLITE3)
    with sqlite3.connect(next(folder.glob("*.db3"))) as base:
        changed = base.execute("SELECT encoded_message_definition FROM message_definitions").fetchone()[0]
        base.execute(
            "UPDATE message_definitions SET encoded_message_definition = ?",
            (changed.replace("uint32 step", "int8 step"),),
        )
    with Bag(folder) as bag, pytest.raises(BagError, match=r"holds sensor_msgs/msg/Image, which .*hash mismatch"):
        list(bag.messages([IMAGE_TOPIC]))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("uint8 is_bigendian", "uint8 endian", "without 'is_bigendian' in sensor_msgs/msg/Image"),
        ("string encoding", "uint8 encoding", "with another 'encoding' in sensor_msgs/msg/Image"),
        ("uint8[] data", "uint8 data", "with another 'data' in sensor_msgs/msg/Image"),
        ("string frame_id", "string frame", "without 'frame_id' in std_msgs/msg/Header"),
    ],
)
def test_a_message_of_another_version_is_told_by_its_field(tmp_path, old: str, new: str, told: str) -> None:
    folder = rosbag(tmp_path / "bag", StoragePlugin.SQLITE3)
    with sqlite3.connect(next(folder.glob("*.db3"))) as base:
        stored = base.execute("SELECT encoded_message_definition FROM message_definitions").fetchone()[0]
        assert old in stored
        base.execute("UPDATE message_definitions SET encoded_message_definition = ?", (stored.replace(old, new),))
        base.execute("UPDATE topics SET type_description_hash = ''")
    with Bag(folder) as bag, pytest.raises(BagError, match=rf"which the bag defines {told}: .*record it again"):
        list(bag.messages([IMAGE_TOPIC]))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE messages SET timestamp = 'noon' WHERE id = 3", "a message has the time 'noon'"),
        ("UPDATE messages SET data = 'text' WHERE id = 3", "a message is str, no bytes"),
        ("UPDATE messages SET data = NULL WHERE id = 3", "a message is NoneType, no bytes"),
        ("UPDATE topics SET name = x'07'", r"a topic is named b.\\x07"),
    ],
)
def test_a_database_with_values_of_other_types_is_told(tmp_path, damage: str, told: str) -> None:
    """SQLite holds any column to be of any type."""
    old = next(rosbag(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3"))
    file = tmp_path / "free.db3"
    with sqlite3.connect(old) as base, sqlite3.connect(file) as other:
        for line in base.iterdump():
            other.execute(re.sub(r"(TEXT|INTEGER|BLOB) NOT NULL", r"\1", line))
        other.execute(damage)
    with pytest.raises(BagError, match=told), Bag(file) as bag:
        list(bag.raw())


def test_a_small_message_that_would_be_a_large_one_is_refused_before_it_is_whole(tmp_path) -> None:
    file = next(rosbag(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3"))
    with sqlite3.connect(file) as base:
        packed = zstandard.ZstdCompressor().compress(bytes(300 * 2**20))
        assert len(packed) < 30_000
        base.execute("UPDATE messages SET data = ? WHERE id = 3", (packed,))
    with Bag(file) as bag, pytest.raises(BagError, match="is more than 256 MiB unpacked"):
        list(bag.raw())


def test_a_packed_message_that_is_cut_short_is_told(tmp_path) -> None:
    file = next(rosbag(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE).glob("*.db3"))
    with sqlite3.connect(file) as base:
        base.execute("UPDATE messages SET data = substr(data, 1, length(data) - 9) WHERE id = 3")
    with Bag(file) as bag, pytest.raises(BagError, match="a message cannot be unpacked"):
        list(bag.raw())


@pytest.mark.parametrize("index", [IndexType.ALL, IndexType.NONE])
@pytest.mark.parametrize("honest", [True, False])
def test_a_small_chunk_that_would_be_a_large_one_is_refused_before_it_is_whole(tmp_path, index, honest) -> None:
    file, size = tmp_path / "bag.mcap", 600 * 2**20
    writer = McapWriter(str(file), compression=CompressionType.ZSTD, index_types=index)
    writer.start(profile="ros2", library="test")
    writer.add_message(writer.register_channel(IMAGE_TOPIC, "cdr", image_schema(writer)), 1, bytes(size), 1)
    writer.finish()
    data = file.read_bytes()
    assert len(data) < 100_000
    if not honest:
        with file.open("rb") as stream:
            (chunk,) = [one for one in StreamReader(stream, emit_chunks=True).records if isinstance(one, Chunk)]
        said = struct.pack("<Q", chunk.uncompressed_size)
        file.write_bytes(data.replace(said, struct.pack("<Q", 1000)))
    told = ""
    try:
        with Bag(file) as bag:
            told = " ".join(bag.faults)
            list(bag.raw())
    except BagError as error:
        told += str(error)
    assert "is more than 512 MiB unpacked" in told
