"""Scans of real things, which the users of the training tools bring: pictures of them, and objects for scenes."""
