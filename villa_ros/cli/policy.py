"""`villa policy`: the SROS2 policy of our nodes, as they are configured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from villa_ros.cli.terminal import expected, need_ros, out, paths

if TYPE_CHECKING:
    from villa_ros.node.security_policy import Profile


def policy(
    context: typer.Context,
    file: Annotated[Path | None, typer.Option("--out", help="File to write; else the policy is printed.")] = None,
    speech: Annotated[bool, typer.Option("--speech", help="Of villa_speech, too: loads its recogniser.")] = False,
) -> None:
    """Write the SROS2 policy of villa_node and villa_console.

    What stands behind -- goes to the nodes, as their parameters and remappings decide what they use:
    villa policy -- --ros-args --params-file robot.yaml
    """
    need_ros()
    from villa_ros.node.security_policy import policy as as_xml

    with expected(ValueError, RuntimeError, OSError):
        text = as_xml(_profiles(context.args, speech=speech))
    if file is None:
        out.print(text, highlight=False, markup=False, soft_wrap=True, end="")
        return
    from villa.files.whole import write_text

    write_text(file, text)
    paths(("policy", file))


def _profiles(arguments: list[str], *, speech: bool) -> list[Profile]:
    import rclpy

    from villa_ros.node.security_policy import profile_of, watching
    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.ros_source import RosSource

    rclpy.init(args=arguments)
    try:
        made = [_configured()]
        if speech:
            from villa_ros.speech.node import SpeechNode

            made.append(SpeechNode())
        console = RosSource(
            NodeState(), made[0].get_fully_qualified_name(), speech_node="/villa_speech" if speech else ""
        )
        console.start()
        try:
            profiles = [profile_of(node) for node in made]
            profiles.append(watching(profile_of(console.node), profiles[0]))
        finally:
            console.close()
        for node in made:
            node.close()
            node.destroy_node()
        return profiles
    finally:
        rclpy.try_shutdown()


def _configured() -> Any:
    """villa_node, active, with everything on the graph and without a model, which puts nothing there."""
    from rclpy.lifecycle import TransitionCallbackReturn
    from rclpy.parameter import Parameter

    from villa_ros.node.villa_node import VillaNode

    class NoModel:
        """Nothing asks it."""

    by_hand = [Parameter("autostart", value=False)]
    node = VillaNode(lambda checkpoint, device: NoModel(), parameter_overrides=by_hand)  # type: ignore[arg-type,return-value]
    for transition in (node.trigger_configure, node.trigger_activate):
        if transition() != TransitionCallbackReturn.SUCCESS:
            raise RuntimeError("villa_node does not activate with these parameters: the log says why")
    return node
