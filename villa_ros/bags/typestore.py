"""The message definitions that bags are read and written with, villa_msgs included. Needs no ROS."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore


class TypestoreError(RuntimeError):
    """The definitions of villa_msgs are nowhere to be found."""


@cache
def villa_typestore() -> Typestore:
    """The types of ROS 2 Kilted and those of villa_msgs. Shared: register nothing in it.

    Raises:
        TypestoreError: no .msg file of villa_msgs is installed or checked out.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    types = {}
    for path in message_files():
        types.update(get_types_from_msg(path.read_text("utf-8"), f"villa_msgs/msg/{path.stem}"))
    store.register(types)
    return store


def message_files() -> list[Path]:
    """The .msg files of villa_msgs: of this checkout, else of the first prefix that has the package.

    Raises:
        TypestoreError: there are none.
    """
    folders = [Path(__file__).resolve().parents[2] / "msg" / "msg"]
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders += [Path(prefix) / "share" / "villa_msgs" / "msg" for prefix in prefixes]
    for folder in folders:
        if files := sorted(folder.glob("*.msg")):
            return files
    raise TypestoreError(
        f"no definition of villa_msgs in {', '.join(str(folder) for folder in folders)}; "
        "install the interface package: pip install ./msg, or build and source the workspace"
    )
