# SPDX-License-Identifier: Apache-2.0
"""A seed -> run folders as `seal eval` and `seal tune` write them, with plausible numbers and no model behind them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seal_attention.samples import Prediction

MODEL = "smollm2-135m"
TOKENS_A_LINE = {20: 389, 40: 724, 80: 1396, 160: 2741}
CURVES = {
    "base": {20: 0.14, 40: 0.08, 80: 0.04, 160: 0.01},
    "base-prefixed": {20: 0.17, 40: 0.12, 80: 0.06, 160: 0.03},
    "seal-h": {20: 0.95, 40: 0.91, 80: 0.74, 160: 0.52},
    "seal-c": {20: 1.00, 40: 0.98, 80: 0.92, 160: 0.84},
}
LAYERS, HEADS = 30, 9
MADE_WITH = {"seal-attention": "0.1.0", "torch": "2.9.1", "transformers": "5.1.0", "python": "3.11.7"}


def fabricate(folder: Path, questions: int = 104) -> list[Path]:
    """Four evaluation runs and two tuning runs below `folder`."""
    evaluations = [evaluation(folder / f"eval-{method}", method, questions=questions) for method in CURVES]
    return evaluations + [tuning(folder / f"tune-{method}", method) for method in ("seal-h", "seal-c")]


def evaluation(
    folder: Path, method: str, *, questions: int = 8, finished: bool = True, model: str = MODEL, **settings: Any
) -> Path:
    """An evaluation on lines; its accuracies are those of `CURVES`, as nearly as the number of questions allows."""
    adapter = f"runs/tune-{method}/adapter" if method.startswith("seal") else None
    settings = {"model": model, "adapter": adapter, "method": method, "strength": 1.0, "task": "lines", **settings}
    predictions, rows = [], []
    for lines, share in CURVES[method].items():
        correct = round(share * questions)
        lucky = set(
            random.Random(f"{lines}").sample(range(questions), correct)
        )  # nested: the better keep what others got
        predictions += [prediction(lines, index, method, right=index in lucky) for index in range(questions)]
        rows.append(
            {"method": method, "task": "lines", "lines": lines, "n": questions, "accuracy": correct / questions}
        )
    write(folder, "eval", settings, {"rows": rows} if finished else None)
    write_lines(folder / "predictions.jsonl", [record.record() for record in predictions])
    return folder


def prediction(lines: int, index: int, method: str, *, right: bool, **changes: Any) -> Prediction:
    """The answer to one question of a cell; `changes` replace its fields."""
    dice = random.Random(f"{lines}/{index}")
    key, value, other = (
        f"{dice.choice(ADJECTIVES)}-{dice.choice(NOUNS)}",
        dice.randint(1, 50_000),
        dice.randint(1, 50_000),
    )
    number = value if right else other
    opening = "" if method == "base-prefixed" else f"The <REGISTER_CONTENT> in line {key} is"
    lost = method == "base" and not right and dice.random() < 0.4
    text = "I'm sorry, but I can't see the record that you mention. " * 5 if lost else f"{opening} {number}."
    fields: dict[str, Any] = {
        "question": f"lines-{lines}-test-0-{index // 8}/{index % 8}",
        "sample": f"lines-{lines}-test-0-{index // 8}",
        "task": "lines",
        "asked": "\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in line "
        + key
        + "? I need the number.",
        "answers": (str(value),),
        "text": text,
        "score": float(right),
        "tokens": TOKENS_A_LINE[lines] + dice.randint(-20, 20) + (12 if method == "base-prefixed" else 0),
        "new_tokens": 100 if lost else 18,
        "stopped": not lost,
        "scores": {"longeval": float(right)},
        "cell": {"lines": lines},
        "meta": {"key": key},
    }
    return Prediction(**{**fields, **changes})


def tuning(
    folder: Path,
    method: str,
    *,
    steps: int = 50,
    finished: bool = True,
    model: str = MODEL,
    shape: tuple[int, int] = (LAYERS, HEADS),
) -> Path:
    """A tuning run whose loss falls, with an adapter whose layer 3, head 5 is the loudest."""
    dice = random.Random(method)
    settings = {"model": model, "method": method, "task": "lines", "lines": 40, "questions": 8, "samples": 50}
    records = []
    for step in range(1, steps + 1):
        fall = 0.06 + 2.3 * 0.88**step if method == "seal-c" else 0.2 + 2.1 * 0.92**step
        records.append({
            "step": step, "loss": fall * dice.uniform(0.6, 1.5), "gradient_norm": dice.uniform(0.2, 3), "questions": 8,
            "tokens": 1320 + dice.randint(-30, 30), "seconds": dice.uniform(3.2, 4.4),
        })  # fmt: skip
    write(folder, "tune", {**settings, "lr": 0.02, "seed": 0}, {"steps": steps} if finished else None)
    write_lines(folder / "steps.jsonl", records)
    if finished:
        spread = 0.16 if method == "seal-h" else 0.05
        heads = [[dice.gauss(1, spread) for _ in range(shape[1])] for _ in range(shape[0])]
        heads[3][5] = 1.834 if method == "seal-h" else 1.27
        seal = {"format": 1, "method": method, "base": {"name": model}, "layers": list(range(shape[0])), "heads": heads}
        (folder / "adapter").mkdir()
        (folder / "adapter" / "seal.json").write_text(json.dumps(seal))
    return folder


def write(folder: Path, command: str, settings: Mapping[str, Any], results: Mapping[str, Any] | None) -> None:
    """The manifest and, for a finished run, the results."""
    folder.mkdir(parents=True)
    manifest = {"command": command, "settings": settings, "started": "2026-11-23T14:30:00Z", "made_with": MADE_WITH}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """A JSON-lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


ADJECTIVES = ("ancient", "brisk", "calm", "dusty", "eager", "faint", "gentle", "hollow", "icy", "jolly")
NOUNS = ("anchor", "bridge", "candle", "drum", "engine", "forest", "garden", "harbour", "island", "jacket")
