# SPDX-License-Identifier: Apache-2.0
"""Examples and what to silence in each -> append-only records; records -> the change of every question, cell by cell.

One record a context and part, and one without a part for the model as it is, so that a probe that was interrupted asks
only what is missing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..adapters import Adapter
from ..errors import SealError
from ..models import LoadedModel
from ..prompts import Example
from ..runs import Run, Unwatched, Watcher
from ..samples import digest_of
from .ablation import Ablated, Part, ablate

RECORDS = "ablations.jsonl"
MEASURES = ("accuracy", "log_probability")
UNITS = {"accuracy": "share of questions", "log_probability": "nats"}

Job = tuple[Example, Collection[Part]]  # a context with its questions, and what is silenced in turn


def cost(model: LoadedModel, jobs: Sequence[Job]) -> float:
    """Tokens to pass through the model: each context once, and for each part the share of layers from its own on."""
    layers = len(model.decoder_layers)
    return sum(example.tokens * (1 + sum(1 - part.layer / layers for part in parts)) for example, parts in jobs)


def silence(
    run: Run,
    model: LoadedModel,
    jobs: Sequence[Job],
    *,
    adapter: Adapter | None = None,
    watcher: Watcher | None = None,
) -> None:
    """Silence every part of every job and record how the questions fare; what stands in the run is not asked again.

    On top of `adapter` where one is given. UsageError for a head or channel that the model does not have; SealError
    where a log-probability is not finite.
    """
    watcher = watcher or Unwatched()
    done = {(record["sample"], _part(record)) for record in run.records(RECORDS)}
    missing = [(one, [part for part in parts if (one.sample.identifier, part) not in done]) for one, parts in jobs]
    left = [(one, parts) for one, parts in missing if parts or (one.sample.identifier, None) not in done]
    layers = len(model.decoder_layers)
    watcher.begin("silencing", cost(model, left))
    for example, parts in left:
        before = 0.0
        for found in ablate(model, example, parts, adapter=adapter):
            if not all(map(math.isfinite, found.log_probabilities)):
                raise SealError(f"{example.sample.identifier} has no finite log-probability; try --dtype float32")
            if (example.sample.identifier, found.part) not in done:
                run.append(RECORDS, _record(example, found))
            if found.part is None:
                before = _mean(found.log_probabilities)
                watcher.advance(example.tokens)
            else:
                change = _mean(found.log_probabilities) - before
                share = 1 - found.part.layer / layers
                watcher.advance(example.tokens * share, f"layer {found.part.layer}: {change:+.3f} nats")
    watcher.end()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _record(example: Example, found: Ablated) -> dict[str, Any]:
    sample = example.sample
    record: dict[str, Any] = {"sample": sample.identifier, "task": sample.task, "cell": dict(sample.cell)}
    if found.part is None:
        digests = [digest_of(sample, question) for question in sample.questions]
        record |= {"layer": None, "head": None, "tokens": example.longest_prompt, "prompts": digests}
    else:
        record |= {name: value for name, value in found.part._asdict().items() if value is not None}
    return {**record, "log_probabilities": found.log_probabilities, "agreed": found.agreed, "right": found.right}


def _part(record: Mapping[str, Any]) -> Part | None:
    """The part that a record is of, None for the model as it is."""
    return None if record["layer"] is None else Part(record["layer"], record["head"], record.get("channel"))


@dataclass(frozen=True)
class Silenced:
    """One cell: what silencing each of `parts` changed in each of its questions.

    By measure (MEASURES: whether greedy decoding would write the whole reference, and its log-probability), `base` is
    (questions,) of the model as it is, and `changes` (questions, parts) what is added to it; float64.
    """

    task: str
    cell: Mapping[str, int]
    parts: tuple[Part, ...]
    base: Mapping[str, torch.Tensor]
    changes: Mapping[str, torch.Tensor]

    def mean(self, measure: str) -> torch.Tensor:
        """The mean change from silencing each part, (parts,)."""
        return self.changes[measure].mean(0)


def read_cells(records: Iterable[Mapping[str, Any]]) -> list[Silenced]:
    """Records of whole contexts -> one result a cell, those of the shortest prompts first."""
    contexts: dict[tuple[str, tuple[tuple[str, int], ...]], dict[str, dict[Part | None, Mapping[str, Any]]]]
    contexts = defaultdict(lambda: defaultdict(dict))
    for record in records:
        contexts[record["task"], tuple(record["cell"].items())][record["sample"]][_part(record)] = record
    cells, lengths = [], []
    for (task, cell), samples in contexts.items():
        held = list(samples.values())
        parts = tuple(sorted(part for part in held[0] if part is not None))
        base = {measure: torch.cat([_of(context[None], measure) for context in held]) for measure in MEASURES}
        silenced = {
            measure: torch.cat([torch.stack([_of(context[part], measure) for part in parts], 1) for context in held])
            if parts
            else torch.zeros(len(base[measure]), 0, dtype=torch.float64)
            for measure in MEASURES
        }
        changes = {measure: silenced[measure] - base[measure][:, None] for measure in MEASURES}
        cells.append(Silenced(task, dict(cell), parts, base, changes))
        lengths.append(sum(context[None]["tokens"] for context in held) / len(held))
    return [cells[place] for place in sorted(range(len(cells)), key=lambda place: lengths[place])]


def _of(record: Mapping[str, Any], measure: str) -> torch.Tensor:
    """One measure of a record's questions, (questions,)."""
    return torch.tensor(record["right" if measure == "accuracy" else "log_probabilities"], dtype=torch.float64)


def in_words(task: str, cell: Mapping[str, int]) -> str:
    """`lines, 20 lines`; `vt, 4,096 tokens`."""
    sizes = (f"{value:,} {'tokens' if name == 'length' else name}" for name, value in cell.items())
    return ", ".join([task, *sizes])
