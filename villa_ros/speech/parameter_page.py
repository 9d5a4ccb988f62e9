"""The table of parameters in docs/speech.md: python -m villa_ros.speech.parameter_page."""

from __future__ import annotations

import sys

from villa_ros.runtime.parameter_docs import table_rows
from villa_ros.speech.parameters import TABLE


def table() -> str:
    """All rows, in Markdown."""
    return "\n".join(table_rows(TABLE, ""))


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
