# SPDX-License-Identifier: Apache-2.0
"""`seal probe agree`: runs that measured the heads -> how far they put them in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..runs import Run
from .options import Json, Out, Seed, default_folder
from .probing import print_findings, probe, say


@probe.command()
def agree(
    runs: Annotated[list[Path], typer.Argument(help="Runs of `seal tune` and `seal probe` heads, fast, retrieval.")],
    top: Annotated[str, typer.Option(help="How many of the top heads to compare; several with commas.")] = "10",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """How far learnt scales, ablation, first-order effects and retrieval scores put the heads in the same order."""
    from ..probing.agreement import agreement, measures_of, source_digest
    from ..tasks.sizing import parse_counts

    tops = parse_counts("--top", top)
    measures = [measure for folder in runs for measure in measures_of(folder)]
    models = sorted({measure.model for measure in measures})
    settings = {"probe": "agree", "model": ", ".join(models), "method": "base", "runs": [str(path) for path in runs],
                "digests": [source_digest(path) for path in runs], "top": tops, "seed": seed}  # fmt: skip
    found = agreement(measures, tops, seed)
    run = Run.open(out or default_folder("probe-agree", "base", settings), "probe", settings)
    if run.results is None:
        run.finish({"probe": "agree", **found})
    if len(models) > 1:
        say(f"these runs name different models ({', '.join(models)}); compare heads of one model alone", as_json)
    results = run.results or {}
    facts = {
        f"{pair['a']} ~ {pair['b']}": "in no order"
        if pair["spearman"] is None
        else f"{pair['spearman']:+.2f} ({pair['low']:+.2f} - {pair['high']:+.2f})"
        for pair in results["correlations"]
    }
    for pair in results["overlap"]:
        both = f"{pair['a']} and {pair['b']}, top {pair['top']}"
        facts[both] = f"{pair['shared']} shared, {pair['expected']:.1f} by chance (p = {pair['p_value']:.2g})"
    print_findings(run, facts, as_json)
