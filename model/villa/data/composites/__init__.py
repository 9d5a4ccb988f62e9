"""Clips put together from pictures of real things: cut-outs that move on a surface before a camera that moves."""
