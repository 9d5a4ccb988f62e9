"""`villa console`: a page in the browser for a node that runs, and what `villa replay --console` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from villa_ros.cli.terminal import expected, need_ros, out, usage

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.image_reading import ImageReading
    from villa_ros.pipeline.request import Request
    from villa_ros.replay.bag_replay import TimedTexts
    from villa_ros.viewers.web.server import Opened

NodeName = Annotated[str, typer.Option(help="Name of the node, with its namespace.")]
CameraTopics = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=TOPIC", help="Also show this image topic; the node's own cameras are found without it."),
]
Host = Annotated[str, typer.Option(help="Address to serve on; 0.0.0.0 for the whole network, which needs a token.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0: any that is free.")]
Token = Annotated[
    str,
    typer.Option(
        envvar="VILLA_CONSOLE_TOKEN",
        show_default=False,
        show_envvar=True,
        help="Token that browsers need. Beyond 127.0.0.1 one is required; if none is given, it is generated.",
    ),
]
TlsCert = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate (PEM), for https.")]
TlsKey = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its key (PEM).")]
SelfSigned = Annotated[
    bool, typer.Option("--tls-self-signed", help="https with a self-signed certificate; browsers warn once.")
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Another host name that the console answers to; repeat for several."),
]
SendSpeech = Annotated[bool, typer.Option("--send-speech", help="Send recognised words without confirmation.")]


def console(
    node: NodeName = "/villa_node",
    camera: CameraTopics = None,
    speech_node: Annotated[
        str, typer.Option(help="Speech node whose questions are shown; empty: none.")
    ] = "/villa_speech",
    host: Host = "127.0.0.1",
    port: Port = 8080,
    token: Token = "",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_self_signed: SelfSigned = False,
    allow_host: AllowHost = None,
    send_speech: SendSpeech = False,
    max_text: Annotated[int, typer.Option(min=1, max=20_000, help="Longest request, characters.")] = 2000,
) -> None:
    """Serve a web page for a running node: cameras with masks, requests, answers, health."""
    from villa_ros.runtime.process import end_with_parent
    from villa_ros.viewers.web.certificate import own_folder
    from villa_ros.viewers.web.server import ConsoleError
    from villa_ros.viewers.web.settings import ConsoleSettings

    cameras = camera_topics(camera or [])
    need_ros()
    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.ros_source import RosSource
    from villa_ros.viewers.web.serving import serve

    end_with_parent()
    settings = ConsoleSettings(
        host=host,
        port=port,
        token=token,
        tls_cert=tls_cert,
        tls_key=tls_key,
        self_signed=own_folder() if tls_self_signed else None,
        names=tuple(allow_host or ()),
        send_speech=send_speech,
        max_text=max_text,
    )
    heard = NodeState()
    with expected(ConsoleError):
        serve(heard, RosSource(heard, node, cameras, speech_node), settings, tell)


def camera_topics(entries: Sequence[str]) -> dict[str, str]:
    """What --camera NAME=TOPIC says: topic by name."""
    cameras = {}
    for entry in entries:
        name, _, topic = entry.partition("=")
        if not name or not topic:
            usage(f"--camera {entry}: wanted NAME=TOPIC")
        cameras[name] = topic
    return cameras


def console_on_replay(
    bag: Path,
    requests: Sequence[Request] | TimedTexts,
    model: SegmentationModel,
    *,
    camera_topic: str | None = None,
    reading: ImageReading | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> None:
    """What `villa replay --console` does: play the bag at its own rate with a console on it, until Ctrl-C.

    Raises:
        BagError: the bag cannot be read, or lacks the topic.
    """
    from villa_ros.viewers.web.server import ConsoleError
    from villa_ros.viewers.web.serving import serve_replay
    from villa_ros.viewers.web.settings import ConsoleSettings

    with expected(ConsoleError):
        settings = ConsoleSettings(host=host, port=port)
        serve_replay(bag, requests, model, settings, tell, camera_topic=camera_topic, reading=reading)


def tell(opened: Opened) -> None:
    """Print where a console is; the only place where its token is shown."""
    out.print(f"console: {escape(opened.link)}", highlight=False, soft_wrap=True)
    if opened.fingerprint:
        out.print(f"certificate, SHA-256: {opened.fingerprint}", highlight=False, soft_wrap=True)
    if opened.warning:
        out.print(f"[yellow]{escape(opened.warning)}[/]", highlight=False, soft_wrap=True)
    out.print("Ctrl-C ends it.", highlight=False)
    out.file.flush()


if __name__ == "__main__":
    typer.run(console)
