# SPDX-License-Identifier: Apache-2.0
"""What `seal plan` says a tuning step takes, and the peak memory of two such steps: side by side, by length.

Line retrieval, SEAL-C, bfloat16 on a CPU, eight questions a context, all in one batch; each setting in a process of its
own. Prints a line a setting with the estimate's error and writes benchmarks/memory.json. About twenty minutes.

    python benchmarks/memory.py [--checkpointed 1k,4k,8k] [--kept 1k,4k] [--frozen 1k,4k,8k] [--questions 8]
                                [--steps 2] [--extend self-extend:32k]
"""

# The peak of a process starts at that of its parent: so nothing large is imported here.
from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

# Ways of treating the prefix, and what `seal plan` takes for each.
FORMS: dict[str, tuple[str, ...]] = {
    "checkpointed": ("--checkpoint",),
    "kept": (),
    "frozen": ("--gradient", "prefix-frozen"),
}


def take_steps(length: str, questions: int, form: str, steps: int, extend: str | None) -> None:
    """Tuning steps at that length; a second one finds the memory as the first left it."""
    from seal_attention import adapters, loading
    from seal_attention.extension import extended
    from seal_attention.objective import accumulate_gradients
    from seal_attention.prompts import Encoder
    from seal_attention.tasks.selection import Selection
    from seal_attention.tasks.sizing import fitted

    model = extended(loading.load(dtype="bfloat16", device="cpu"), extend)
    encoder, adapter = Encoder(model.tokenizer), adapters.create("seal-c", model)
    (task,) = Selection("lines", lengths=length, questions=questions, tuning=True).cells(encoder.budget)
    with adapter.attached(model):
        for index in range(steps):
            example = encoder.encode(fitted(task, encoder.budget, 0, "train", index))
            accumulate_gradients(
                model, example, batch=8, checkpoint=form == "checkpointed", frozen_prefix=form == "frozen"
            )


def printed(*command: str) -> Any:
    """The JSON that a process prints last."""
    output = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compared(length: str, questions: int, form: str, steps: int, extend: str | None) -> dict[str, Any]:
    """Peak gigabytes measured and estimated, and the estimate's error in percent."""
    asked = ["--length", length, "--questions", str(questions), *(["--extend", extend] if extend else [])]
    measured = printed(__file__, "--measure", form, *asked, "--steps", str(steps)) / 1e9
    machine = ("--samples", "2", "--dtype", "bfloat16", "--device", "cpu", "--json")
    planned = printed("-m", "seal_attention", "plan", *asked, *FORMS[form], *machine)
    estimated = planned["tuning_memory_gb"]
    return {
        "length": length,
        "form": form,
        "extend": extend,
        "steps": steps,
        "measured_gb": round(measured, 2),
        "estimated_gb": estimated,
        "error_percent": round(100 * (estimated / measured - 1), 1),
    }


def main() -> None:
    """One setting after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpointed", default="1k,4k,8k", help="lengths to tune with --checkpoint")
    parser.add_argument("--kept", default="1k,4k", help="lengths to tune without")
    parser.add_argument("--frozen", default="1k,4k,8k", help="lengths to tune with --gradient prefix-frozen")
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--extend", help="as in seal tune")
    parser.add_argument("--measure", choices=FORMS, help="take the steps of --length here, print the peak's bytes")
    parser.add_argument("--length", default="1k")
    options = parser.parse_args()
    if options.measure:
        take_steps(options.length, options.questions, options.measure, options.steps, options.extend)
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
        return
    settings = [(length, form) for form in FORMS for length in getattr(options, form).split(",") if length]
    results = []
    for length, form in settings:
        results.append(compared(length, options.questions, form, options.steps, options.extend))
        print(json.dumps(results[-1]), flush=True)
        Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
