"""The light family of image encoder, mask decoder and propagator, small enough for a CPU."""
