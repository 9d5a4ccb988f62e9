"""MeViS: motion expressions, which may mean several objects.

`<split>/meta_expressions.json`, `<split>/mask_dict.json` (not of `valid` and `test`) and `<split>/JPEGImages/<video>/`.
Read from github.com/henghuiding/MeViS (README, `tools/eval_mevis.py`); the names of `test` from
github.com/bytedance/Sa2VA, `projects/sa2va/evaluation/sa2va_eval_ref_vos.py`. Not run on the set.
"""

from __future__ import annotations

from pathlib import Path

from villa.evaluation.benchmarks.layout import needed_file, needed_folder
from villa.evaluation.benchmarks.mask_dict import MaskDictBenchmark
from villa.evaluation.protocols import Row, Score, mevis_v2_row
from villa.evaluation.submission import MaskFolders

_MASKED = ("valid_u", "train")


class MeViS(MaskDictBenchmark):
    """Version 1, ICCV 2023: every expression means something."""

    name = "mevis"
    splits = ("valid_u", "valid", "train", "test")
    source = "github.com/henghuiding/MeViS, README.md and tools/eval_mevis.py"
    submission = MaskFolders()
    _meta = "meta_expressions.json"
    _released = "meta_expressions_release.json"

    def meta(self) -> Path:
        """File with the expressions."""
        folder = needed_folder(self.root / self.split, f"the split {self.split} of {self.name}")
        released = folder / self._released
        if self.split not in _MASKED and released.is_file():
            return released
        return needed_file(folder / self._meta, f"the expressions of {self.name}")

    def mask_file(self) -> Path | None:
        """File with the true masks; None: those of this split are not public."""
        return super().mask_file() if self.split in _MASKED else None


class MeViSv2(MeViS):
    """Version 2, TPAMI 2025: the same videos with more expressions, some of which mean nothing that is there.

    The names of its files are those of the published folders (huggingface.co/datasets/FudanCVL/MeViSv2); the code of
    its server is not public, see `villa.evaluation.protocols.mevis_v2_row`.
    """

    name = "mevis-v2"
    source = "file names of huggingface.co/datasets/FudanCVL/MeViSv2, else as mevis"
    _meta = "meta_expressions_v2.json"
    _released = "meta_expressions_v2_release.json"

    def _row(self, scores: list[Score]) -> Row:
        return mevis_v2_row(scores)
