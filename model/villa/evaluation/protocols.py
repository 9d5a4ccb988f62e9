"""Scores of all expressions of a set -> its table row, in the way its own evaluation makes means.

A score is one JSON object: `video`, `kind`, the fields of `villa.evaluation.referring.ExpressionScore`, and `choice`
(was the right answer chosen; null without a question). An expression whose video failed has `failed` and zeros. A row
holds `videos`, `expressions`, the measures, 0..1, `jf_low` and `jf_high` (95 % interval of J&F, videos drawn with
replacement), and in `parts` the same for parts of the set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from villa.evaluation.bootstrap import interval
from villa.evaluation.referring import c_iou, choice_accuracy, g_iou, no_target_accuracy, target_accuracy

Score = dict[str, Any]
Row = dict[str, Any]
_SEED = 0  # of the interval


def mean_row(scores: Sequence[Score]) -> Row:
    """Means over expressions: MeViS, and what the papers do for Ref-YouTube-VOS.

    github.com/henghuiding/MeViS, `tools/eval_mevis.py`: J and F are means over all frames of an expression, then over
    all expressions of all videos; J&F is the mean of both. A video without predictions counts 0. The server of
    Ref-YouTube-VOS is not public code: its protocol is this one by the papers.
    """
    row = _counts(scores)
    if not scores:
        return row
    j, f = _mean(scores, "j"), _mean(scores, "f")
    low, high = _spread(scores)
    row |= {"j": j, "f": f, "jf": (j + f) / 2, "jf_low": low, "jf_high": high}
    if any(score["frames"] for score in scores):
        row |= {"giou": g_iou(scores), "ciou": c_iou(scores)}
    return row


def present_row(scores: Sequence[Score]) -> Row:
    """Means over the expressions that mean something, N-acc over the others, and multiple choice, by kind as well.

    The project's own sets, and sets made like VideoReasonSeg: the paper of ViLLa (arXiv 2407.14500) reports J&F and the
    accuracy of multiple choice for short and for long videos; no evaluation of it is public.
    """
    row = _present(scores)
    kinds = sorted({str(score["kind"]) for score in scores if score["kind"]})
    return row | {"parts": {kind: _present([s for s in scores if s["kind"] == kind]) for kind in kinds}}


def mevis_v2_row(scores: Sequence[Score]) -> Row:
    """MeViS v2: the means of v1 over all expressions, N-acc, T-acc, and `final`, the mean of J&F, N-acc and T-acc.

    N-acc and T-acc are those of the same authors' GRES (github.com/henghuiding/ReLA,
    `gres_model/evaluation/refer_evaluation.py`). The server's code is not public: that `final` is this mean follows
    from tables of entries to its challenge, and whether its J&F is over all expressions, as in the code of v1, or over
    those with a target could not be read; `jf_target` is the other one.
    """
    row = mean_row(scores)
    target = [score for score in scores if score["target"]]
    n_acc = no_target_accuracy([bool(score["answered"]) for score in scores if not score["target"]])
    t_acc = target_accuracy([bool(score["answered"]) for score in target])
    row |= {"jf_target": mean_row(target).get("jf"), "n_acc": n_acc, "t_acc": t_acc}
    whole = [value for value in (row.get("jf"), n_acc, t_acc) if value is not None]
    return row | {"final": sum(whole) / 3 if len(whole) == 3 else None}


REFERRING, REASONING, HALLUCINATION = "referring", "reasoning", "hallucination"


def revos_row(scores: Sequence[Score]) -> Row:
    """ReVOS: J, F, J&F, accuracy A and robustness R of referring and of reasoning expressions, and the mean of the two.

    github.com/cilinyan/VISA, `tools/eval_revos.py`: each expression is rounded to 0.01 points first; the overall
    numbers are means of the two kinds, not of expressions; the third kind, which the code calls nan, is in neither.
    A video without predictions counts 0.
    """
    row = _counts(scores)
    parts = {kind: _revos_part([s for s in scores if s["kind"] == kind]) for kind in (REFERRING, REASONING)}
    for name in ("j", "f", "jf", "accuracy", "robustness"):
        values = [part[name] for part in parts.values() if part.get(name) is not None]
        row[name] = sum(values) / 2 if len(values) == 2 else None
    return row | {"parts": {name: part for name, part in parts.items() if part["expressions"]}}


def reason_vos_row(scores: Sequence[Score]) -> Row:
    """ReasonVOS: means over expressions, of all and by the form of the expression.

    github.com/showlab/VideoLISA, `evaluation/reason_vos/eval_reason_vos.py`: as MeViS, but over the frames that have a
    true mask, and an expression without predictions is left out instead of counting 0.
    """
    scores = [score for score in scores if not score.get("failed")]
    row = mean_row(scores)
    kinds = sorted({str(score["kind"]) for score in scores})
    return row | {"parts": {kind: mean_row([s for s in scores if s["kind"] == kind]) for kind in kinds}}


def ref_davis_row(scores: Sequence[Score]) -> Row:
    """Ref-DAVIS17: mean over the objects of all videos for each of four sets of expressions, and the mean of the four.

    github.com/wjn922/ReferFormer, `eval_davis.py`, is run once for each set; the mean of its four results is what the
    papers report. An expression's `j` and `f` are those of its object there, see `villa.evaluation.davis_objects`.
    `jf_direct` compares each expression's masks with its object alone, as github.com/bytedance/Sa2VA,
    `tools/eval/eval_davis.py`, does: some papers report that one.
    """
    row = _counts(scores)
    kinds = sorted({str(score["kind"]) for score in scores})
    parts = {kind: _davis_part([s for s in scores if s["kind"] == kind]) for kind in kinds}
    if not parts:
        return row
    for name in ("j", "f", "jf", "j_direct", "f_direct", "jf_direct"):
        row[name] = float(np.mean([part[name] for part in parts.values()]))
    low, high = _spread(scores)
    return row | {"jf_low": low, "jf_high": high, "parts": parts}


_DAVIS = ("j", "j_recall", "j_decay", "f", "f_recall", "f_decay")


def davis_row(scores: Sequence[Score]) -> Row:
    """DAVIS 2016: mean, recall and decay of J and F over sequences, each of which weighs the same; by sequence as well.

    github.com/davisvideochallenge/davis2017-evaluation, `evaluation_method.py`: J&F is the mean of mean J and mean F.
    The recall is the mean over sequences of the share of frames above 0.5.
    """
    row = _davis_sequences(scores)
    if not scores:
        return row
    low, high = _spread(scores)
    videos = {str(score["video"]): _davis_sequences([score]) for score in scores}
    return row | {"jf_low": low, "jf_high": high, "parts": videos}


def unscored_row(scores: Sequence[Score]) -> Row:
    """A split whose masks are not public: how much was run, and the share of expressions with any mask."""
    return _counts(scores) | {"answered": target_accuracy([bool(score["answered"]) for score in scores])}


def _counts(scores: Sequence[Score]) -> Row:
    counts: Row = {"videos": len({score["video"] for score in scores}), "expressions": len(scores)}
    failed = sum(1 for score in scores if score.get("failed"))
    return counts | ({"failed": failed} if failed else {})


def _present(scores: Sequence[Score]) -> Row:
    target = [score for score in scores if score["target"]]
    row = mean_row(target) | _counts(scores)
    row["n_acc"] = no_target_accuracy([bool(score["answered"]) for score in scores if not score["target"]])
    row["t_acc"] = target_accuracy([bool(score["answered"]) for score in target])
    row["choice"] = choice_accuracy([bool(s["choice"]) for s in scores if s.get("choice") is not None])
    return row


def _revos_part(scores: Sequence[Score]) -> Row:
    row = _counts(scores)
    if not scores:
        return row
    for name in ("j", "f", "accuracy", "robustness"):
        row[name] = _mean(scores, name, lambda value: round(100 * value, 2) / 100)
    low, high = _spread(scores)
    return row | {"jf": (row["j"] + row["f"]) / 2, "jf_low": low, "jf_high": high}


def _davis_sequences(scores: Sequence[Score]) -> Row:
    row = _counts(scores)
    if not scores:
        return row
    row |= {name: _mean(scores, name) for name in _DAVIS}
    return row | {"jf": (row["j"] + row["f"]) / 2}


def _davis_part(scores: Sequence[Score]) -> Row:
    row = _counts(scores)
    for end in ("", "_direct"):
        j, f = _mean(scores, f"j{end}"), _mean(scores, f"f{end}")
        row |= {f"j{end}": j, f"f{end}": f, f"jf{end}": (j + f) / 2}
    return row


def _mean(scores: Sequence[Score], name: str, each: Callable[[float], float] = float) -> float:
    return float(np.mean([each(score[name]) for score in scores]))


def _spread(scores: Sequence[Score]) -> tuple[float, float]:
    videos: dict[str, list[float]] = {}
    for score in scores:
        videos.setdefault(score["video"], []).append((score["j"] + score["f"]) / 2)
    return interval(videos.values(), _SEED)
