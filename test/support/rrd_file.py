"""What is in a Rerun recording, read back by the SDK's own reader."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rerun.chunk import RrdReader


class RrdFile:
    """The rows of a recording's only store by entity, each with its stamp; statics have none."""

    def __init__(self, path: Path) -> None:
        reader = RrdReader(path)
        (self.store,) = reader.recordings()
        self.layouts = len(reader.blueprints())
        self._batches: defaultdict[str, list[pa.RecordBatch]] = defaultdict(list)
        for chunk in reader.stream():
            self._batches[chunk.entity_path].append(chunk.to_record_batch())

    @property
    def entities(self) -> set[str]:
        return set(self._batches)

    def rows(self, entity: str, component: str) -> list[tuple[int | None, Any]]:
        """(stamp in ns, values) of every row of a component like "TextLog:text", in the order of the stamps."""
        found = []
        for batch in self._batches.get(entity, []):
            if component not in batch.schema.names:
                continue
            values = batch.column(component).to_pylist()
            stamps = [None] * len(values)
            if "stamp" in batch.schema.names:
                stamps = batch.column("stamp").cast(pa.int64()).to_pylist()
            found += [(stamp, value) for stamp, value in zip(stamps, values, strict=True) if value is not None]
        return sorted(found, key=lambda row: row[0] or 0)

    def only(self, entity: str, component: str) -> dict[int, Any]:
        """The same of a component that has one row for each stamp."""
        rows = self.rows(entity, component)
        stamped = {stamp: value for stamp, value in rows if stamp is not None}
        assert len(stamped) == len(rows), f"{entity} has a stamp twice"
        return stamped

    def images(self, entity: str) -> dict[int, bytes]:
        """The bytes of the encoded pictures."""
        return {stamp: bytes(blob) for stamp, (blob,) in self.only(entity, "EncodedImage:blob").items()}

    def masks(self, entity: str) -> dict[int, np.ndarray]:
        """The label images [H, W]."""
        formats = self.only(entity, "SegmentationImage:format")
        return {
            stamp: np.array(buffer, np.uint8).reshape(formats[stamp][0]["height"], formats[stamp][0]["width"])
            for stamp, (buffer,) in self.only(entity, "SegmentationImage:buffer").items()
        }

    def words(self, who: str) -> list[tuple[int | None, str]]:
        """(stamp, text) of each line that is told of `who`."""
        return [(stamp, text) for stamp, (text,) in self.rows(f"/words/{who}", "TextLog:text")]
