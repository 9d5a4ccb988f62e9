"""How the viewer lays a recording out: pictures, space and words beside the plots."""

from __future__ import annotations

from collections.abc import Sequence

import rerun as rr
from rerun import blueprint as rrb

# Where things lie in a recording; a camera's name follows after those of the plots.
IMAGE, MASKS, BOXES = "image", "masks", "boxes"  # <camera>/image/masks
POINTS, OBJECTS = "points", "objects"  # <camera>/points
WORDS, LATENCY, SCORE, AREA, STATE = "words", "latency", "score", "area", "state"
STAMP, FRAME = "stamp", "frame"  # timelines

# Over the camera's shoulder, in its optical frame (x right, y down, z forward): objects lie beyond its picture.
_EYE_M, _LOOK_AT_M = (0.5, -0.45, -0.45), (0.0, 0.0, 0.55)


def layout(cameras: Sequence[str], with_depth: Sequence[str]) -> rrb.Blueprint:
    """Pictures with masks of these cameras, space for those with depth, words, and plots."""
    pictures = [rrb.Spatial2DView(origin=rr.new_entity_path([camera, IMAGE]), name=camera) for camera in cameras]
    eye = rrb.EyeControls3D(position=_EYE_M, look_target=_LOOK_AT_M, eye_up=(0.0, -1.0, 0.0))
    spaces = [
        rrb.Spatial3DView(origin=rr.new_entity_path([camera]), name=f"{camera}, metres", eye_controls=eye)
        for camera in with_depth
    ]
    plots = rrb.Tabs(
        *(
            rrb.TimeSeriesView(origin=kind, name=name)
            for kind, name in (
                (LATENCY, "latency, ms"),
                (SCORE, "score"),
                (AREA, "area, px"),
                (STATE, "state"),
            )
        )
    )
    words = rrb.TextLogView(origin=WORDS, name="requests and answers")
    shown = rrb.Vertical(rrb.Grid(*pictures), words, row_shares=[3, 1])
    beside = rrb.Vertical(rrb.Tabs(*spaces), plots, row_shares=[3, 2]) if spaces else plots
    return rrb.Blueprint(
        rrb.Horizontal(shown, beside, column_shares=[3, 2]),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=STAMP),
    )
