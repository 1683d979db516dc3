# SPDX-License-Identifier: Apache-2.0
"""One tuning step here and in transformers.Trainer with PEFT's (IA)^3: seconds a question, peak memory, side by side.

The same model, samples, loss positions and machine, each side in a process of its own, in turn. Prints the figures and
the ratios (theirs / ours: higher is better for us) and writes benchmarks/tuning_step.json.

    python benchmarks/tuning_step.py [--lines 40] [--questions 8] [--contexts 3] [--repeats 3]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def ours(lines: int, questions: int, contexts: int, checkpoint: bool) -> list[float]:
    """Seconds a context of a SEAL-C step over a shared prefix."""
    import torch

    from seal_attention import adapters, models
    from seal_attention.prompts import Encoder
    from seal_attention.tasks.lines import Lines
    from seal_attention.tuning.objective import accumulate_gradients

    model = models.load()
    encoder, adapter = Encoder(model.tokenizer), adapters.create("seal-c", model)
    optimizer = torch.optim.AdamW(adapter.parameters().values(), lr=2e-2)
    seconds = []
    with adapter.attached(model):
        for index in range(contexts + 1):
            example = encoder.encode(Lines(lines, questions).sample(0, "train", index))
            started = time.perf_counter()
            optimizer.zero_grad()
            accumulate_gradients(model, example, batch=8, checkpoint=checkpoint)
            optimizer.step()
            seconds.append(time.perf_counter() - started)
    return seconds[1:]  # the first warms up


def theirs(lines: int, questions: int, contexts: int, checkpoint: bool) -> list[float]:
    """Seconds a context of the same work by Trainer: one full prompt a question, batch 1, labels on the answer."""
    from peft import IA3Config, get_peft_model
    from torch.utils.data import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from seal_attention import models
    from seal_attention.prompts import Encoder
    from seal_attention.tasks.lines import Lines

    loaded = models.load()
    encoder = Encoder(loaded.tokenizer)
    rows = []
    for index in range(contexts + 1):
        example = encoder.encode(Lines(lines, questions).sample(0, "train", index))
        for question in example.questions:
            prompt = [*example.prefix_ids, *question.suffix_ids]
            labels = [-100] * len(prompt) + list(question.answer_ids)
            rows.append({"input_ids": [*prompt, *question.answer_ids], "labels": labels})

    class Rows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, place: int) -> dict[str, list[int]]:
            return rows[place]

    stamps: list[float] = []

    class Stamp(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            stamps.append(time.perf_counter())

    pattern = r".*\.self_attn\.o_proj"
    model = get_peft_model(loaded.model, IA3Config(target_modules=pattern, feedforward_modules=pattern))
    arguments = TrainingArguments(
        output_dir="/tmp/seal-benchmark", per_device_train_batch_size=1, gradient_accumulation_steps=questions,
        num_train_epochs=1, learning_rate=2e-2, lr_scheduler_type="constant", report_to=[], save_strategy="no",
        use_cpu=loaded.device.type == "cpu", gradient_checkpointing=checkpoint, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[Stamp()])
    trainer.train()
    return [later - earlier for earlier, later in itertools.pairwise(stamps)]


def measured(side: str, options: argparse.Namespace, checkpoint: bool) -> dict[str, float]:
    """Run one side in a fresh process: median seconds a question and peak resident memory (bytes)."""
    command = [sys.executable, __file__, "--side", side, "--lines", str(options.lines)]
    command += ["--questions", str(options.questions), "--contexts", str(options.contexts)]
    output = subprocess.run(
        command + ["--checkpoint"] * checkpoint, check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]
    return json.loads(output)


def main() -> None:
    """Alternate the sides `repeats` times and print medians with their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("lines", 40), ("questions", 8), ("contexts", 3), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--checkpoint", action="store_true")
    parser.add_argument("--side", choices=("ours", "theirs"))
    options = parser.parse_args()
    if options.side:
        run = {"ours": ours, "theirs": theirs}[options.side]
        seconds = run(options.lines, options.questions, options.contexts, options.checkpoint)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": statistics.median(seconds) / options.questions, "peak_bytes": peak}))
        return
    results: dict[str, Any] = {"lines": options.lines, "questions": options.questions, "pairs": []}
    for _ in range(options.repeats):
        pair = {side: measured(side, options, options.checkpoint) for side in ("ours", "theirs")}
        results["pairs"].append(pair)
        print(json.dumps(pair), flush=True)
    for name in ("seconds", "peak_bytes"):
        ratios = sorted(pair["theirs"][name] / pair["ours"][name] for pair in results["pairs"])
        results[f"{name}_ratio"] = {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}
        print(f"{name}: theirs / ours = {statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})")
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
