"""Learning: batches, losses, loops. Nothing here is needed to run a model."""
