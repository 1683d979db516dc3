# SPDX-License-Identifier: Apache-2.0
"""Two ways of tuning channel scales -> seconds until held-out records of 40 lines are answered to 95 %.

The same records, rate and steps here (SEAL-C) and in transformers.Trainer with PEFT's (IA)^3. After every few contexts
the clock stops, and the mean of the last half of the steps so far is evaluated by our evaluation, for both sides.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairing import Asked, Comparison, Figures, Side, spread

if TYPE_CHECKING:
    import torch

MODULE = "time_to_accuracy"


@dataclass(frozen=True)
class Race:
    """Records of `lines` with `questions` each, at most `most` contexts; every `every` of them `held_out` test
    questions are asked, and `goal` of them right ends it."""

    lines: int = 40
    questions: int = 8
    rate: float = 3e-2
    every: int = 5
    most: int = 60
    held_out: int = 104
    goal: float = 0.95


QUICK = Race(lines=6, questions=2, every=1, most=2, held_out=2, goal=0.0)


def comparisons(asked: Asked) -> list[Comparison]:
    """One comparison; it is long, so it is run once unless more repeats than the usual three are asked for."""
    race = QUICK if asked.quick else Race()
    evaluations = 30 * race.most / race.every * race.held_out / 104
    sides = {
        "ours": Side("seal", asdict(race), 20 + 0.4 * race.most * race.questions * race.lines / 40 + evaluations),
        "trainer_ia3": Side(
            "trainer", asdict(race), 25 + 2.4 * race.most * race.questions * race.lines / 40 + evaluations
        ),
    }
    return [Comparison("time_to_accuracy", MODULE, sides, max(1, asked.repeats // 3))]


@dataclass
class HeldOut:
    """A second copy of the model, the test records, and every step's scales so far."""

    race: Race
    steps: list[dict[str, torch.Tensor]] = field(default_factory=list)
    trace: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from seal_attention import adapters, loading
        from seal_attention.evaluation.cells import Cell
        from seal_attention.tasks.lines import Lines
        from seal_attention.tasks.sizing import draw

        self.model = loading.load(device="cpu")
        self.adapter = adapters.Scales("seal-c", self.model.projections)
        task = Lines(self.race.lines, self.race.questions)
        self.cell = Cell(draw(task, "test", 0, self.race.held_out), task.scores)

    def reached(self, scales: Mapping[str, torch.Tensor], seconds: float) -> bool:
        """Take in a step's scales; every few steps evaluate, and say whether the goal is reached."""
        self.steps.append({name: tensor.detach().clone().float() for name, tensor in scales.items()})
        if len(self.steps) % self.race.every:
            return False
        accuracy = self._accuracy()
        self.trace.append({"contexts": len(self.steps), "seconds": round(seconds, 3), "accuracy": accuracy})
        return accuracy >= self.race.goal

    def _accuracy(self) -> float:
        import torch

        from seal_attention.evaluation.local import evaluate
        from seal_attention.runs import Run

        half = self.steps[len(self.steps) // 2 :]
        mean = {name: torch.stack([step[name] for step in half]).mean(0) for name in half[0]}
        with tempfile.TemporaryDirectory() as folder:
            self.adapter.load_vectors(mean, Path(folder))
            run = Run.open(Path(folder) / "run", "eval", {})
            (row,) = evaluate(run, self.model, [self.cell], method="seal-c", adapter=self.adapter)
        return float(row["accuracy"])

    def figures(self) -> Figures:
        """Seconds to the goal, where it was reached, and every evaluation on the way."""
        last = self.trace[-1]
        reached = (
            {"seconds": last["seconds"], "contexts": last["contexts"]} if last["accuracy"] >= self.race.goal else {}
        )
        return {**reached, "trace": self.trace}


def seal(**settings: Any) -> Figures:
    """SEAL-C steps until the goal."""
    import torch

    import measuring
    from seal_attention import adapters
    from seal_attention.objective import accumulate_gradients

    race = Race(**settings)
    held_out, loaded = HeldOut(race), measuring.load_model()
    model = loaded.model
    adapter = adapters.create("seal-c", model)
    optimizer = torch.optim.AdamW(adapter.parameters().values(), lr=race.rate, weight_decay=0.0)
    seconds = 0.0
    with adapter.attached(model):
        for example in _examples(race, loaded.encoder):
            started = time.perf_counter()
            optimizer.zero_grad()
            accumulate_gradients(model, example, batch=race.questions)
            optimizer.step()
            seconds += time.perf_counter() - started
            if held_out.reached(adapter.peft_files(model.name)[1], seconds):
                break
    return held_out.figures()


def trainer(**settings: Any) -> Figures:
    """Steps of Trainer with (IA)^3 until the goal."""
    from peft import get_peft_model_state_dict
    from transformers import TrainerCallback

    import measuring
    import trainer_peer

    race = Race(**settings)
    held_out, loaded = HeldOut(race), measuring.load_model()
    examples = _examples(race, loaded.encoder)
    model = trainer_peer.wrapped(loaded.model, "ia3")

    class Clock(TrainerCallback):
        """Counts the time between evaluations, and ends the training at the goal."""

        seconds, resumed = 0.0, 0.0

        def on_train_begin(self, *_args: Any, **_kwargs: Any) -> None:
            self.resumed = time.perf_counter()

        def on_step_end(self, _arguments: Any, _state: Any, control: Any, **_kwargs: Any) -> None:
            self.seconds += time.perf_counter() - self.resumed
            if held_out.reached(get_peft_model_state_dict(model), self.seconds):
                control.should_training_stop = True
            self.resumed = time.perf_counter()

    rows = [trainer_peer.row_of(example, question) for example in examples for question in example.questions]
    trainer_peer.train(model, rows, Clock(), rows_a_step=race.questions, rate=race.rate, checkpoint=False)
    return held_out.figures()


def _examples(race: Race, encoder: Any) -> list[Any]:
    """The tuning records, encoded before any clock runs."""
    from seal_attention.tasks.lines import Lines

    task = Lines(race.lines, race.questions)
    return [encoder.encode(task.sample(0, "train", index)) for index in range(race.most)]


def summarise(_comparison: Comparison, repeats: Sequence[Mapping[str, Figures]]) -> Figures:
    """The ratio of the seconds, of the repeats in which both sides reached the goal."""
    reached = [sides for sides in repeats if all("seconds" in figures for figures in sides.values())]
    ratios = [sides["trainer_ia3"]["seconds"] / sides["ours"]["seconds"] for sides in reached]
    return {
        "ratios": {"time_to_accuracy": spread(ratios)} if ratios else {},
        "repeats_that_reached_the_goal": f"{len(reached)} of {len(repeats)}",
    }
