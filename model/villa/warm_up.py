"""One run of every stage before the first request: kernels choose their ways, memory grows to what it will need.

The first answer is then as fast as later ones, and resident memory does not creep up with each answer that holds more
objects than any before it.
"""

from __future__ import annotations

import numpy as np
import torch

from villa.interface import ClipFrame, finish
from villa.model import ViLLa

OBJECTS = 8  # more than most answers hold
_REQUEST = "the object"


@torch.inference_mode()
def warm_up(model: ViLLa, objects: int = OBJECTS) -> None:
    """Answer a request about a black clip, then segment and carry `objects` at once; nothing stays behind."""
    encoder = model.config.encoder
    black = np.zeros((encoder.height, encoder.width, 3), np.uint8)
    clip = [ClipFrame(float(index), lambda: black) for index in range(model.config.clip_frames)]
    finish(model.open_session().request(_REQUEST, clip))
    features = model.encode(black)
    frame = torch.zeros(objects, dtype=torch.long, device=model.device)
    prompts = torch.zeros(objects, encoder.channels, device=model.device)
    masks = model.decode(prompts, features.tokens, features.pyramid, frame)
    image = features.tokens.expand(objects, -1, -1)
    seen = model.remember(image, masks.logits, masks.token, prompts, torch.zeros(objects, device=model.device))
    memories = [seen] * model.config.propagator.memories
    model.propagate(memories, features.tokens, features.pyramid, frame, 0.0)
