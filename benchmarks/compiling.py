# SPDX-License-Identifier: Apache-2.0
"""torch.compile -> what it takes to warm up, and how much longer a tuning step and reading a prompt take without it.

Compiled are the MLPs and norms of every layer, once for all lengths: what lies between them is attention, which PyTorch
runs in a kernel of its own either way. Needs a C++ compiler.

    python benchmarks/compiling.py [--length 1k] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

import measuring
from seal_attention import adapters
from seal_attention.models import LoadedModel
from seal_attention.objective import accumulate_gradients
from seal_attention.prompts import Example
from seal_attention.shared_prefix import PrefixCache
from seal_attention.tasks.sizing import parse_counts

QUESTIONS = 8


def compiled(model: LoadedModel) -> None:
    """Replace the forward of each layer's MLP and norms by a compiled one that takes any length."""
    torch._dynamo.config.cache_size_limit = 4 * len(model.decoder_layers)
    for layer in model.decoder_layers:
        for module in layer.children():
            if not any(name.endswith("o_proj") for name, _ in module.named_modules()):
                module.forward = torch.compile(module.forward, dynamic=True)


def timed(work: Callable[[Example], object], examples: Sequence[Example]) -> float:
    """Median seconds over the examples."""
    taken = []
    for example in examples:
        started = time.perf_counter()
        work(example)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    """Measure both forms in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", default="1k")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    (length,) = parse_counts("--length", arguments.length)
    plain, ours = measuring.load_model(), measuring.load_model()
    compiled(ours.model)
    examples = measuring.contexts(plain.encoder, length, QUESTIONS, arguments.repeats + 1)
    steps, reads = {}, {}
    for name, loaded in (("plain", plain), ("compiled", ours)):
        adapter = adapters.create("seal-c", loaded.model)

        def read(example: Example, model: LoadedModel = loaded.model) -> None:
            with torch.no_grad():
                PrefixCache.prefill(model, example.prefix_ids)

        def step(example: Example, model: LoadedModel = loaded.model) -> None:
            accumulate_gradients(model, example, batch=QUESTIONS)

        with adapter.attached(loaded.model):
            warm = sum(timed(work, examples[:1]) for work in (read, step))
            print(f"{name}: the first of each {warm:.1f} s", flush=True)
            reads[name], steps[name] = timed(read, examples[1:]), timed(step, examples[1:])
    for what, seconds in (("reading", reads), ("a tuning step", steps)):
        ratio = seconds["plain"] / seconds["compiled"]
        print(f"{what}: {seconds['plain']:.2f} s plain, {seconds['compiled']:.2f} s compiled, {ratio:.2f} times")


if __name__ == "__main__":
    main()
