"""From a model and frames to answers and tracklets: streams, whole videos and multiple choice."""
