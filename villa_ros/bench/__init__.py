"""Measurements of speed, memory and overhead, as ratios within one run (`make bench`, `villa bench`)."""
