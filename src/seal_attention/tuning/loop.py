# SPDX-License-Identifier: Apache-2.0
"""Samples and settings -> a tuned adapter in a run folder, one step a context, resumable bit for bit.

AdamW at a constant rate, each question once (paper, section 6 and appendix A). After each step the adapter's numbers,
the optimiser's moments and the step are written; running the same command again goes on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from .. import adapters
from ..devices import peak_memory
from ..errors import SealError, UsageError
from ..models import LoadedModel
from ..objective import accumulate_gradients
from ..processes import PROCESS
from ..prompts import Encoder, Example, require_fit
from ..runs import Run, Unwatched, Watcher
from ..samples import Sample
from .spreading import drawn_positions, require_reach
from .state import TuningState

STEPS = "steps.jsonl"
STATE = "state.safetensors"
ADAPTER = "adapter"
DEFAULT_RATES = {"seal-h": 1.5e-1, "seal-c": 3e-2, "seal-l": 2e-4, "seal-d": 2e-4}
FROZEN = "prefix-frozen"
GRADIENTS = ("exact", FROZEN)
AVERAGED = {"seal-h", "seal-c"}  # at SEAL-H's high rate the last step alone is a matter of luck (docs/log.md)


@dataclass(frozen=True)
class TuneSettings:
    """How to tune.

    `lr` is AdamW's constant rate; `average` takes the mean of the last half of the steps, not the last one alone
    (tuning/state.py); each context is read `readings` times, each time for another share of its questions (with fewer
    questions than readings they come again); `batch` questions run at a time; `checkpoint` saves memory, `offload` more
    of a GPU's (docs/memory.md); `gradient` is exact, or leaves out what the scales do to the prefix
    (objective.py); `spread` puts the tokens of half of the contexts at positions up to so many apart
    (tuning/spreading.py).
    """

    method: str
    lr: float
    average: bool = False
    readings: int = 1
    batch: int = 8
    checkpoint: bool = False
    offload: bool = False
    gradient: str = "exact"
    spread: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in adapters.METHODS:
            raise UsageError(f"unknown --method {self.method!r}; choose {', '.join(adapters.METHODS)}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(
                f"--lr must be a number above 0, not {self.lr}; {DEFAULT_RATES[self.method]} is the default of "
                f"{self.method}"
            )
        if self.gradient not in GRADIENTS:
            raise UsageError(f"unknown --gradient {self.gradient!r}; choose {' or '.join(GRADIENTS)}")
        if self.checkpoint and self.gradient == FROZEN:
            raise UsageError(f"--checkpoint has nothing to recompute with --gradient {FROZEN}; leave one of them out")
        if self.readings < 1 or self.batch < 1:
            raise UsageError(f"--readings and --batch must be at least 1, not {self.readings} and {self.batch}")
        require_checkpoint(self.checkpoint, self.offload)


def require_checkpoint(checkpoint: bool, offload: bool) -> None:
    """UsageError for --offload without --checkpoint."""
    if offload and not checkpoint:
        raise UsageError(
            "--offload was given without --checkpoint, whose layer inputs are all that it moves to the host; type "
            "--checkpoint --offload, or leave --offload out"
        )


class NotFinite(SealError):
    """The loss or a gradient stopped being a number; the last good adapter has been kept."""


def tune(
    run: Run,
    model: LoadedModel,
    samples: Sequence[Sample],
    settings: TuneSettings,
    *,
    notes: dict[str, Any],
    watcher: Watcher | None = None,
) -> Path:
    """Tune an adapter; returns its folder. `notes` (task, sizes) go into its seal.json.

    UsageError for no samples or a prompt beyond the window; NotFinite, with the step, where the loss or a gradient is
    not finite: the adapter of the last good step is then in the run folder.
    """
    watcher = watcher or Unwatched()
    tuning = Tuning(model, samples, settings)
    folder = run.folder / ADAPTER
    state, main = tuning.state, tuning.accelerator.is_main_process
    state.load(run.folder / STATE)
    with PROCESS.in_turn(model.device.type == "cpu"):
        run.keep(STEPS, state.step)

    def save() -> None:
        kept = ("lr", "average", "readings", "gradient", "spread", "seed")
        settled = {name: getattr(settings, name) for name in kept}
        with state.averaged():
            adapters.save(tuning.adapter, folder, model, {**notes, **settled})

    watcher.begin(f"tuning {settings.method}", (tuning.steps - state.step) * tuning.first.tokens)
    with tuning.adapter.attached(model):
        while state.step < tuning.steps:
            started = time.perf_counter()
            try:
                example, loss, norm = tuning.take_step()
            except NotFinite as error:
                save()
                raise NotFinite(
                    f"{error}; the adapter of step {state.step} is kept in {folder}: try a lower --lr than "
                    f"{settings.lr}, or --dtype float32"
                ) from error
            seconds = time.perf_counter() - started
            if main:
                run.append(STEPS, _record(state.step, example, loss, norm, seconds))
                state.save(run.folder / STATE)
            watcher.advance(tuning.first.tokens, f"loss {loss:.3f}  {example.tokens / seconds:,.0f} tokens/s")
    watcher.end()
    if main:
        save()
        records = run.records(STEPS)
        losses = [record["loss"] for record in records]
        last = losses[-min(5, len(losses)) :]
        run.finish(
            {
                "adapter": str(folder),
                "steps": tuning.steps,
                "lr": settings.lr,
                "first_loss": losses[0],
                "last_loss": sum(last) / len(last),
                "tuning_seconds": round(sum(record["seconds"] for record in records), 1),
                "tuning_memory_gb": round(peak_memory(model.device) / 1e9, 2),
            }
        )
    tuning.accelerator.wait_for_everyone()
    return folder


class Tuning:
    """A fresh adapter and what takes it forward: `steps` in all, a context a step and process, `state.step` done.

    `first` is the example of the first step, whose size stands for all.
    """

    def __init__(self, model: LoadedModel, samples: Sequence[Sample], settings: TuneSettings) -> None:
        if not samples:
            raise UsageError("there are 0 samples to tune on; ask for at least one (--samples 50 is the default)")
        self.model, self.samples, self.settings = model, samples, settings
        self.encoder = Encoder(model.tokenizer)
        self.first = self._example(0, 0)
        require_reach(model, settings.spread or 0)
        self.accelerator = Accelerator(cpu=model.device.type == "cpu")
        torch.manual_seed(settings.seed)
        self.adapter = adapters.create(settings.method, model)
        self.parameters = self.adapter.parameters()
        self.steps = math.ceil(len(samples) * settings.readings / self.accelerator.num_processes)
        optimizer = torch.optim.AdamW(self.parameters.values(), lr=settings.lr, weight_decay=0.0)
        averaged_from = self.steps // 2 if settings.average else None
        self.state = TuningState(self.parameters, self.accelerator.prepare(optimizer), averaged_from)

    def _example(self, reading: int, index: int) -> Example:
        example = self.encoder.encode(self.samples[index].share(reading, self.settings.readings))
        require_fit(example, self.model.window)
        return example

    def take_step(self) -> tuple[Example, float, float]:
        """The next step, the adapter attached: this process's example, its loss, and the norm of the mean gradient.

        NotFinite, nothing changed, where the loss or the gradient is no number.
        """
        settings, world = self.settings, self.accelerator.num_processes
        place = self.state.step * world + self.accelerator.process_index
        reading, index = divmod(place, len(self.samples))
        example = self._example(reading, index)
        positions = None
        if settings.spread:
            positions = drawn_positions(example, settings.spread, f"{settings.seed}/{reading}")
        self.state.optimizer.zero_grad()
        loss = accumulate_gradients(
            self.model,
            example,
            batch=settings.batch,
            checkpoint=settings.checkpoint,
            offload=settings.offload,
            frozen_prefix=settings.gradient == FROZEN,
            positions=positions,
        )
        if world > 1:
            for parameter in self.parameters.values():
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")
        norm = _gradient_norm(self.parameters)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NotFinite(
                f"step {self.state.step + 1} of {self.steps} gave a loss of {loss} and a gradient norm of {norm}"
            )
        self.state.advance()
        return example, loss, norm


def _record(step: int, example: Example, loss: float, norm: float, seconds: float) -> dict[str, Any]:
    return {
        "step": step,
        "sample": example.sample.identifier,
        "loss": loss,
        "gradient_norm": norm,
        "questions": len(example.questions),
        "tokens": example.tokens,
        "seconds": round(seconds, 3),
    }


def _gradient_norm(parameters: Mapping[str, torch.nn.Parameter]) -> float:
    """Norm over all parameters; SealError naming one that no gradient reached: its tuning would be silently dead."""
    missing = [name for name, parameter in parameters.items() if parameter.grad is None]
    if missing:
        raise SealError(
            f"no gradient reached {len(missing)} of {len(parameters)} adapter parameters (the first: {missing[0]}); "
            "this model can't be tuned as loaded: try --dtype float32, or an unquantised copy of it"
        )
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    return float(torch.stack([gradient.float().norm() for gradient in gradients]).norm())
