"""Segmenters: image features, masks from prompts, and propagation by memory."""
