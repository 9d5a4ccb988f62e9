"""Scenes of objects, hands and robot arms: composed, moved, rendered and labelled."""
