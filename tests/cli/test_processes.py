# SPDX-License-Identifier: Apache-2.0
"""Claims about several processes: they tune one adapter, each on its own contexts, and write one run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

import tiny
from seal_attention import adapters, loading
from seal_attention.objective import accumulate_gradients
from seal_attention.prompts import Encoder
from seal_attention.tasks.lines import Lines

TUNE = ("--lines", "2", "--questions", "2", "--samples", "4", "--lr", "0.01", "--no-average", "--dtype", "float64")


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What the process printed, once it has ended well."""
    printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed[1]
    return printed


def test_two_processes_take_the_mean_step_of_their_contexts_and_write_one_run(tmp_path: Path) -> None:
    tiny.save("llama", tmp_path / "model", max_position_embeddings=2048)
    arguments = ["tune", "model", *TUNE, "--out", "run", "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "seal_attention", *arguments]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What torchrun and accelerate's launcher say to each process.
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    both = [subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **told, **rank}, **pipes) for rank in ranks]
    (printed, _), (nothing, _) = (ended(process) for process in both)
    assert (json.loads(printed)["steps"], nothing) == (2, "")
    assert len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) == 2

    model = loading.load(str(tmp_path / "model"), dtype="float64")
    adapter = adapters.create("seal-c", model)
    parameters = adapter.parameters()
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.0)
    encoder = Encoder(model.tokenizer)
    with adapter.attached(model):
        for step in range(2):
            optimizer.zero_grad()
            for index in (2 * step, 2 * step + 1):
                accumulate_gradients(model, encoder.encode(Lines(2, 2).sample(0, "train", index)), batch=8)
            for parameter in parameters.values():
                assert parameter.grad is not None
                parameter.grad /= 2
            optimizer.step()
    written = load_file(tmp_path / "run" / "adapter" / adapters.WEIGHTS_FILE)
    for name, values in parameters.items():
        held = written[f"{adapters.PEFT_PREFIX}{name}.ia3_l"].reshape(-1)
        assert torch.allclose(held, values.detach().to(held.dtype), atol=1e-6)
        assert not torch.equal(held, torch.ones_like(held))
