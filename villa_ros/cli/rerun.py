"""`villa rerun`: a live node or a recording in the Rerun viewer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from villa_ros.cli.console import CameraTopics, NodeName, camera_topics
from villa_ros.cli.terminal import expected, need_ros, out, usage

if TYPE_CHECKING:
    from villa_ros.viewers.rerun.target import Target


def rerun(
    recording: Annotated[
        Path | None, typer.Argument(metavar="FILE.rrd", help="Recording to open; without it a live node is shown.")
    ] = None,
    node: NodeName = "/villa_node",
    camera: CameraTopics = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="FILE.rrd|URL",
            help="Write a file, or send to a viewer on another machine; default: open a viewer here.",
        ),
    ] = "",
    memory_limit: Annotated[
        str, typer.Option(help="Most memory of the opened viewer, such as 2GB or 25%; the oldest data is dropped.")
    ] = "2GB",
) -> None:
    """Show a live node, or a recording of `villa replay --rerun`, in the Rerun viewer; no usage statistics are sent."""
    from villa_ros.runtime.process import end_with_parent
    from villa_ros.viewers.rerun.viewer import RerunError, require_rerun, show

    if recording is not None:
        if camera or to:
            usage(f"{recording} is opened as it is: leave --camera and --to out")
        with expected(RerunError):
            raise typer.Exit(show(recording))
    cameras = camera_topics(camera or [])
    with expected(RerunError):
        require_rerun()
    need_ros()
    end_with_parent()
    with expected(RerunError):
        target = _target(to, memory_limit)
    _bridge(target, node, cameras)


def _target(to: str, memory_limit: str) -> Target:
    from villa_ros.viewers.rerun.target import FileTarget, ViewerTarget
    from villa_ros.viewers.rerun.viewer import PORT, answers, start_viewer

    if "://" in to:
        return ViewerTarget(to, _tell)
    if to:
        if not to.endswith(".rrd"):
            usage(f"--to {to}: wanted a file that ends in .rrd, or an address like rerun+http://HOST:{PORT}/proxy")
        _tell(f"writing {to}")
        return FileTarget(Path(to))
    if not answers("127.0.0.1", PORT):
        start_viewer(PORT, memory_limit)
    return ViewerTarget(f"rerun+http://127.0.0.1:{PORT}/proxy", _tell)


def _bridge(target: Target, node: str, cameras: dict[str, str]) -> None:
    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.rerun.live_bridge import Bridge
    from villa_ros.viewers.rerun.ros_depth import RosMetresSource
    from villa_ros.viewers.web.serving import asked_to_end

    heard = NodeState()
    bridge = Bridge(heard, target)
    source = RosMetresSource(heard, bridge, node, cameras)
    with asked_to_end() as ended:
        bridge.start()
        source.start()
        _tell("Ctrl-C ends it.")
        ended.wait()
    source.close()
    if not bridge.close():
        _tell("the viewer takes nothing more; what was under way to it is lost")
        out.file.flush()
        os._exit(0)  # the SDK would wait for that viewer for ever


def _tell(text: str) -> None:
    out.print(f"rerun: {escape(text)}", highlight=False, soft_wrap=True)
    out.file.flush()


if __name__ == "__main__":
    typer.run(rerun)
