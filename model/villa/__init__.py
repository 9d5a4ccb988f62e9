"""ViLLa: video reasoning segmentation with a large language model (knows no ROS).

A video and a request in plain words go in; an answer in words and *tracklets* (one mask per frame and object,
one identity over time) come out. The design follows arXiv 2407.14500 under its names; see docs/model_card.md.
"""

__version__ = "0.1.0"
