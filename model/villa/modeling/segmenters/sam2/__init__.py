"""SAM 2 video and the SAM 3 tracker of transformers as image encoder, mask decoder and propagator."""
