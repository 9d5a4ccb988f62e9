"""ViLLa's modules: the paper's blocks over a segmenter and a multimodal language model."""
