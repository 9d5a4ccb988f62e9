"""Multimodal language models behind one interface: vision-language models, or a causal one with a projector."""
