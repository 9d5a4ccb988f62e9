"""Packets of H.264 or H.265 -> pictures, one by one and in order: each rests on those before it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa_ros.pipeline.h264 import FrameNumbers, begins_h264, begins_h265
from villa_ros.pipeline.image_view import MAX_PIXELS, ImageError

# What messages call them, by FFmpeg's name.
_CODECS = {"h264": "h264", "avc": "h264", "libx264": "h264", "h265": "hevc", "hevc": "hevc", "libx265": "hevc"}
_BEGINS = {"h264": begins_h264, "hevc": begins_h265}


class VideoStream:
    """One camera's stream. It begins at a key frame, and again at the next one after something was lost."""

    def __init__(self) -> None:
        self._decoder: Any = None
        self._codec = ""
        self._numbers = FrameNumbers()
        self._waits = "no_key_frame"  # why packets are left out until the next key frame; empty: they are not

    def picture(self, data: bytes, encoding: str) -> NDArray[np.uint8]:
        """The next packet, and what its message calls the encoding -> picture [H, W, 3] uint8, red first.

        Raises:
            ImageError: `reason` says why there is none: "encoding", "no_pyav", "no_key_frame" before the first one,
                "lost_packets" from a gap in the stream to the next key frame, "delayed", "too_large", "undecodable".
        """
        codec = _CODECS.get(encoding.partition(";")[0].strip().lower())
        if codec is None:
            raise ImageError("encoding", f"the video is in {encoding!r}, wanted h264 or h265: set the encoder to one")
        if codec != self._codec:
            self._open(codec)
        key = _BEGINS[codec](data)
        follows = codec != "h264" or self._numbers.follows(data)
        if key:
            if self._waits:
                self._decoder.flush_buffers()
            self._waits = ""
        elif not self._waits and not follows:
            self._waits = "lost_packets"
        if self._waits:
            why = "packets were lost" if self._waits == "lost_packets" else "the stream was met in its midst"
            raise ImageError(self._waits, f"{why}: waits for a key frame; have the encoder send one every second")
        return self._decoded(data, key=key)

    def _open(self, codec: str) -> None:
        try:
            import av
        except ImportError as error:
            raise ImageError("no_pyav", "video needs PyAV: pip install 'villa-ros[video]'") from error
        self._decoder = av.CodecContext.create(codec, "r")
        self._decoder.thread_count = 1  # more of them hold pictures back
        self._codec, self._numbers, self._waits = codec, FrameNumbers(), "no_key_frame"

    def _decoded(self, data: bytes, *, key: bool) -> NDArray[np.uint8]:
        import av

        try:
            pictures = self._decoder.decode(av.Packet(data))
        except av.FFmpegError as error:
            self._waits = "undecodable"
            raise ImageError("undecodable", f"a packet of {len(data)} bytes is no {self._codec}: {error}") from error
        if not pictures and key:
            self._waits = "delayed"
            raise ImageError("delayed", "the stream holds pictures back: set the encoder to no B-frames (zero latency)")
        if not pictures:
            self._waits = "lost_packets"
            raise ImageError("lost_packets", "packets were lost: waits for a key frame")
        newest = pictures[-1]
        if newest.width * newest.height > MAX_PIXELS:
            raise ImageError(
                "too_large", f"video is {newest.width}x{newest.height} px, wanted {MAX_PIXELS} px or fewer"
            )
        rgb: NDArray[np.uint8] = newest.to_ndarray(format="rgb24")
        return rgb
