"""OpInfos of CTC and the CRF, which sum over all alignments of labels and all sequences of tags."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from .builders import module_info
from .op_info import Sample, Sampler, real

REDUCTIONS = ("mean", "sum", "none")


def _ctc_loss(d: Sampler) -> Sample:
    """Draws both kinds of lengths, and equal labels; impossible alignments count nothing."""
    steps, batch, classes, most = (d.integer(low, 4) for low in (1, 1, 2, 0))
    blank = d.integer(0, classes - 1)
    labels = [c for c in range(classes) if c != blank]
    targets = np.array([[d.one_of(labels) for _ in range(most)] for _ in range(batch)], np.int64)
    times, counts = ([d.integer(0, n) for _ in range(batch)] for n in (steps, most))
    reduction = d.one_of(REDUCTIONS)

    def call(_: object, x: Any) -> Any:
        return nn.ctc_loss(
            x, targets.reshape(batch, most), times, counts, blank=blank, reduction=reduction,
            zero_infinity=True,
        )  # fmt: skip

    return Sample([real(d, (steps, batch, classes))], call)


def _crf(d: Sampler) -> Sample:
    """The likelihood of drawn tags, the partition, and the marginals."""
    steps, batch, tags = (d.integer(1, 4) for _ in range(3))
    batch_first = d.one_of([True, False])
    pairs = [(None, 0), (0, None), (0, tags - 1)][: d.integer(0, 3) if tags > 1 else 0]
    crf = nn.CRF(tags, batch_first, dtype="float64", forbidden=pairs)
    shape = (batch, steps) if batch_first else (steps, batch)
    y = np.array([d.integer(0, tags - 1) for _ in range(steps * batch)]).reshape(shape)
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    reduction, part = d.one_of(REDUCTIONS), d.one_of(["likelihood", "partition", "marginals"])

    def call(_: object, x: Any) -> Any:
        if part == "likelihood" and not crf.forbidden:  # minus infinity has no derivative
            return crf(x, y, lengths, reduction=reduction)
        return crf.marginals(x, lengths) if part == "marginals" else crf.partition(x, lengths)

    return Sample([real(d, (*shape, tags))], call, crf)


LOSSES_AND_TAGGING = [module_info("ctc_loss", _ctc_loss, kind="loss"), module_info("CRF", _crf)]
