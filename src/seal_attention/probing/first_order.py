# SPDX-License-Identifier: Apache-2.0
"""Examples -> the first-order effect of silencing each head, from one backward pass a context.

The answers' log-probability has a slope in each head's scale, taken at 1; going from 1 to 0 along that slope is the
first-order estimate of what silencing the head exactly (ablation.py) changes. Michel et al. 2019, "Are Sixteen Heads
Really Better than One?", rank heads by the size of this slope; here its sign counts too.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from ..adapters import Adapter, Scales
from ..errors import SealError
from ..models import LoadedModel
from ..objective import accumulate_gradients, question_losses
from ..prompts import EncodedQuestion, Example
from ..runs import Run, Unwatched, Watcher
from ..shared_prefix import PrefixCache
from .ablation import Part
from .head_maps import head_map
from .heads import HeadsRun, effects_of, grid
from .ranks import spearman
from .silencing import UNITS, Silenced, in_words

RECORDS = "gradients.jsonl"

CellName = tuple[str, tuple[tuple[str, int], ...]]  # the task, and the cell's sizes
Effects = dict[Part, float]


def estimate(
    run: Run,
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    adapter: Adapter | None = None,
    batch: int = 8,
    checkpoint: bool = False,
    watcher: Watcher | None = None,
) -> None:
    """Record each context's first-order effects; contexts that stand in the run already are not read again.

    On top of `adapter` where one is given; its own numbers get no gradients. `batch` and `checkpoint` as in
    `accumulate_gradients`. SealError where an effect is not a finite number.
    """
    watcher = watcher or Unwatched()
    done = {record["sample"] for record in run.records(RECORDS)}
    left = [example for example in examples if example.sample.identifier not in done]
    for parameter in adapter.parameters().values() if adapter is not None else ():
        parameter.requires_grad_(False)
    watcher.begin("first-order effects", sum(example.tokens for example in left))
    for example in left:
        scales = Scales("seal-h", model.projections)
        with adapter.attached(model) if adapter is not None else contextlib.nullcontext(), scales.attached(model):
            nats = accumulate_gradients(
                model, example, batch=batch, losses=_answer_losses, checkpoint=checkpoint, frozen_prefix=False
            )
        effects = [_slope(scales, name).tolist() for name in scales.values]
        if not all(math.isfinite(value) for row in effects for value in row):
            raise SealError(f"{example.sample.identifier} gave a gradient that is not finite; try --dtype float32")
        run.append(
            RECORDS,
            {
                "sample": example.sample.identifier,
                "task": example.sample.task,
                "cell": dict(example.sample.cell),
                "questions": len(example.questions),
                "log_probability": -nats,
                "layers": [projection.layer for projection in model.projections],
                "effects": effects,
            },
        )
        watcher.advance(example.tokens, f"{nats:.2f} nats an answer")
    watcher.end()


def _answer_losses(model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache) -> torch.Tensor:
    """Minus the log-probability of each question's whole answer, (questions,): its tokens' losses summed."""
    losses = question_losses(model, questions, prefix)
    return losses * torch.tensor([len(question.answer_ids) for question in questions]).to(losses)


def _slope(scales: Scales, name: str) -> torch.Tensor:
    """The gradient of the loss in one projection's scales, (heads,).

    The loss is minus the log-probability and silencing moves a scale by minus 1: the signs cancel.
    """
    gradient = scales.values[name].grad
    if gradient is None:
        raise SealError(
            f"no gradient reached the heads of {name}; try --dtype float32, or an unquantised copy of the model"
        )
    return gradient


def read_effects(records: Iterable[Mapping[str, Any]]) -> dict[CellName, Effects]:
    """Records -> the mean first-order change of a question's log-probability from silencing each head, cell by cell."""
    sums: dict[CellName, dict[Part, float]] = defaultdict(lambda: defaultdict(float))
    counts: dict[CellName, int] = defaultdict(int)
    for record in records:
        cell = record["task"], tuple(record["cell"].items())
        counts[cell] += record["questions"]
        for layer, row in zip(record["layers"], record["effects"], strict=True):
            for head, effect in enumerate(row):
                sums[cell][Part(layer, head)] += effect * record["questions"]
    return {cell: {part: value / counts[cell] for part, value in own.items()} for cell, own in sums.items()}


def strongest(effects: Effects, count: int) -> list[Part]:
    """The heads of the largest first-order effects, whatever their sign."""
    return sorted(effects, key=lambda part: -abs(effects[part]))[:count]


def exact_of(cells: Iterable[Silenced]) -> dict[CellName, Effects]:
    """Exact changes of the log-probability from what was silenced."""
    return {
        (cell.task, tuple(cell.cell.items())): dict(zip(cell.parts, cell.mean("log_probability").tolist(), strict=True))
        for cell in cells
    }


def exact_of_run(run: HeadsRun) -> dict[CellName, Effects]:
    """The same from a run of `seal probe heads`."""
    return {(each["task"], tuple(each["cell"].items())): effects_of(each) for each in run.maps("log_probability")}


def findings(effects: Mapping[CellName, Effects], exact: Mapping[CellName, Effects], top: int) -> dict[str, Any]:
    """The results of `seal probe fast` (docs/formats.md): maps, the `top` heads beside their exact effect, and the
    rank correlation of both over all heads whose exact effect is known."""
    maps, checked, correlations = [], [], []
    for (task, sizes), own in effects.items():
        known, cell = exact[task, sizes], dict(sizes)
        layers, values = grid(list(own), torch.tensor(list(own.values()), dtype=torch.float64))
        title = f"First-order change of the answer's log-probability with each head silenced ({in_words(task, cell)})"
        unit = UNITS["log_probability"]
        maps.append(head_map("first_order", title, layers, values, unit=unit, task=task, cell=cell))
        checked += [
            {"task": task, "cell": cell, "layer": part.layer, "head": part.head,
             "first_order": round(own[part], 6), "exact": round(known[part], 6)}
            for part in strongest(own, top)
        ]  # fmt: skip
        pairs = torch.tensor([(own[part], known[part]) for part in known], dtype=torch.float64)
        correlation = float(spearman(*pairs.T))
        correlations.append(
            {
                "task": task,
                "cell": cell,
                "over": "all heads" if len(known) == len(own) else f"the {len(known)} strongest heads",
                "n": len(known),
                "spearman": round(correlation, 4) if math.isfinite(correlation) else None,
            }
        )
    return {"probe": "fast", "maps": maps, "exact": checked, "rank_correlation": correlations}
