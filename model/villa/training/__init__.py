"""Learning: batches, losses, loops. Nothing else in `villa` imports from here, so a model loads and runs without it.

`villa info CONFIG` and `villa bench --models` use `model_size` to count parameters and memory.
"""
