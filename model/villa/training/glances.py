"""What the recogniser of a model makes of images that training has prepared for the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from villa.modeling.language.causal import CausalLLM
from villa.modeling.objects.recogniser import Recognised
from villa.modeling.segmenters.light.encoder import denormalize


def glanced(
    language: CausalLLM, images: Tensor, frames: Sequence[int] | None = None, stretch: float = 1.0
) -> Recognised | None:
    """Normalised images [T, 3, H, W] -> what stands on those of these frames; None where nothing is recognised.

    Without `frames`, those that the model looks at in use; `stretch` of all of them, as in `Recognised`.
    """
    things = language.config.things
    if things is None or not things.recognised_frames:
        return None
    frames = language.glances(len(images)) if frames is None else frames
    if not len(frames):
        return None
    looked_at = denormalize(images[list(frames)].float())
    return language.recognise(looked_at, frames, looked_at.new_full((len(frames),), stretch))
