"""Metrics as the public benchmarks define them, and models scored on splits."""
