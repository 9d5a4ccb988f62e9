"""Checkpoints of others -> ours, strict in both directions. Never run on a real published checkpoint yet."""
