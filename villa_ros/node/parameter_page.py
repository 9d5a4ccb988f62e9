"""docs/parameters.md, made from the tables that declare the parameters: python -m villa_ros.node.parameter_page."""

from __future__ import annotations

import sys

from villa_ros.node.parameters import CAMERA_TABLE, TABLE
from villa_ros.runtime.parameter_docs import table_rows

_HEAD = """# Parameters of villa_node

Made from `villa_ros/node/parameters.py` by `python -m villa_ros.node.parameter_page`; a test keeps it in step.
[node.md](node.md) says how parameters are given.

A change takes effect

- **at once**: `ros2 param set` works while the node is active. A value out of range is refused, with the reason.
- **when configuring**: refused while the node is configured. Clean it up, set the parameter, configure it again.
- **at the start** only: read-only once the node runs.
"""
_CAMERAS = """
## Of each camera

Each camera in `cameras` has these parameters, prefixed with its name: `camera.image_topic` for the camera `camera`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *table_rows(TABLE, ""), _CAMERAS, *table_rows(CAMERA_TABLE, "<camera>."), ""])


if __name__ == "__main__":
    sys.stdout.write(page())
