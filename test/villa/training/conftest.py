"""What both ways of training are tested with."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def no_forks(monkeypatch):
    """Nothing forks: a child of a process that has used OpenCV's threads waits for them for ever."""

    def fork() -> int:
        raise AssertionError("this process was forked")

    monkeypatch.setattr(os, "fork", fork)
