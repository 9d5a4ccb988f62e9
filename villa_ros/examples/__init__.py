"""Nodes to learn from and to copy: each does one thing with what villa_node publishes."""
