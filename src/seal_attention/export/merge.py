# SPDX-License-Identifier: Apache-2.0
"""A model folder and a SEAL adapter -> a complete model folder with the scales folded into the output projections.

Each output projection's input columns are multiplied by the scales in float32 and cast once (paper, section 4). The
shards are copied and patched in place, one tensor in memory at a time, so every other tensor stays byte-identical.
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from .. import adapters, loading
from ..errors import SealError, UsageError
from ..extension import extended
from ..generation import answer_questions, stop_ids
from ..models import LoadedModel
from ..packing import answer_logits
from ..projections import OutputProjection, fingerprint
from ..prompts import Encoder
from ..runs import load_json, save_json, write_failure
from ..samples import Sample
from ..shared_prefix import PrefixCache
from .windows import note_of, save_config

RECORD = "seal_merged.json"
KEPT_BESIDE = {
    ".json",
    ".txt",
    ".model",
    ".jinja",
    ".md",
    ".py",
    "",
}  # tokenizer, template, configs, licence; never weights


def merge(
    name: str,
    adapter_folder: Path,
    out: Path,
    *,
    revision: str | None = None,
    strength: float = 1.0,
    extend: str | None = None,
    native_window: int | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> list[str]:
    """Write `out`: the model `name` with the adapter merged; returns the names of the tensors that changed.

    A window extension goes into config.json where that can say it (windows.py), and into the record in any case; `tell`
    hears where it is another than the adapter was tuned under.
    UsageError where the adapter is not SEAL-H/C, was made for another model, or is merged already (naming both), where
    the base is quantised or not in safetensors, or where `out` exists; SealError where it can't be written. `out`
    appears whole or not at all.
    """
    source = loading.local_folder(name, revision)
    _require_mergeable(name, source, adapter_folder)
    if out.exists():
        raise UsageError(f"--out {out} exists already; choose a new folder for the merged model")
    bare = extended(loading.skeleton(name, source), extend, native_window)
    places = _places(source, bare)
    own = fingerprint(
        bare.model.config, bare.projections, lambda projection: _read(places[projection.name], projection)
    )
    scales = adapters.load(adapter_folder, bare, strength, own)
    assert isinstance(scales, adapters.Scales)
    if elsewhere := adapters.tuned_elsewhere(adapter_folder, bare):
        tell(elsewhere)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        whole = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            _copy_beside(source, whole)
            save_config(bare, whole)
            for shard in sorted({place.file for place in places.values()} | set(source.glob("*.safetensors"))):
                shutil.copyfile(shard, whole / shard.name)
            for projection in bare.projections:
                _patch(whole, places[projection.name], projection, scales.channel_scales(projection.name).detach())
            held = load_json(source / RECORD)["merged"] if (source / RECORD).exists() else []
            entry = {
                "adapter": str(adapter_folder),
                "digest": adapters.digest(adapter_folder),
                "base": name,
                "strength": strength,
                **note_of(bare),
            }
            save_json(whole / RECORD, {"merged": [*held, entry]})
            whole.chmod(0o755)
            whole.rename(out)
        finally:
            shutil.rmtree(whole, ignore_errors=True)
    except OSError as error:
        raise write_failure(out, error) from error
    return [places[projection.name].tensor for projection in bare.projections]


def _require_mergeable(name: str, source: Path, adapter_folder: Path) -> None:
    method = adapters.describe(adapter_folder)["method"]
    if method not in ("seal-h", "seal-c"):
        raise UsageError(
            f"{adapter_folder} is a {method} adapter; `seal merge` folds SEAL-H and SEAL-C scales, PEFT's "
            "merge_and_unload() merges LoRA and DoRA"
        )
    if (source / RECORD).exists():
        digest = adapters.digest(adapter_folder)
        for entry in load_json(source / RECORD)["merged"]:
            if entry["digest"] == digest:
                raise UsageError(
                    f"the adapter {adapter_folder} is merged into {name!r} already; merge it into its base "
                    f"{entry['base']!r} only once"
                )
    config = load_json(source / "config.json")
    if config.get("quantization_config"):
        raise UsageError(
            f"{name!r} is quantised ({config['quantization_config'].get('quant_method')}), and scales can't be "
            "folded into packed weights; "
            "merge into the 16-bit model it was made from, then quantise that"
        )
    if not any(source.glob("*.safetensors")):
        raise UsageError(
            f"{name!r} has no .safetensors files in {source}; save it with save_pretrained() first (pickled weights "
            "are never read)"
        )


@dataclass(frozen=True)
class _Place:
    """Where a projection's weight stands: its shard, its tensor name there, its bytes in the file, dtype and shape."""

    file: Path
    tensor: str
    start: int
    length: int
    dtype: str
    shape: tuple[int, ...]


DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _places(source: Path, bare: LoadedModel) -> dict[str, _Place]:
    """Find each projection's weight in the folder's shards."""
    headers: dict[str, tuple[Path, int, Mapping[str, Any]]] = {}
    for shard in sorted(source.glob("*.safetensors")):
        with shard.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
        headers |= {key: (shard, 8 + size, value) for key, value in header.items() if key != "__metadata__"}
    parameters = _parameters(bare.model, headers)
    places = {}
    for projection in bare.projections:
        wanted = f"{projection.name}.weight"
        matches = [key for key, parameter in parameters.items() if parameter == wanted]
        if len(matches) != 1 or headers[matches[0]][2]["dtype"] not in DTYPES:
            raise UsageError(
                f"{bare.name!r} has {len(matches)} tensors for {wanted} where one of {', '.join(DTYPES)} is needed; it "
                "can't be merged into"
            )
        shard, base, entry = headers[matches[0]]
        start, end = entry["data_offsets"]
        places[projection.name] = _Place(
            shard, matches[0], base + start, end - start, entry["dtype"], tuple(entry["shape"])
        )
    return places


def _parameters(model: PreTrainedModel, keys: Iterable[str]) -> dict[str, str]:
    """Each tensor of a checkpoint that is one of the model's parameters as it stands -> that parameter's name.

    By transformers' own rules of loading: checkpoints may leave out or add a prefix, and older ones have other names
    (`language_model.model.` for `model.language_model.` in models that see).
    """
    held, rules = model.state_dict(), get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    found = {}
    for key in sorted(keys, key=dot_natural_key):
        name, converted = rename_source_key(key, renamings, converters, model.base_model_prefix, held)
        if name not in held and key in held:
            name, converted = key, None
        if converted is None:
            found[key] = name
    return found


def _read(place: _Place, projection: OutputProjection) -> torch.Tensor:
    with safe_open(place.file, "pt") as file:
        weight = file.get_tensor(place.tensor)
    return weight.t() if projection.transposed else weight


def _patch(folder: Path, place: _Place, projection: OutputProjection, scales: torch.Tensor) -> None:
    """Multiply the weight's input columns in the copied shard: one product in float32, one cast back."""
    with (folder / place.file.name).open("rb+") as file:
        file.seek(place.start)
        weight = torch.frombuffer(bytearray(file.read(place.length)), dtype=DTYPES[place.dtype]).reshape(place.shape)
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        merged = (wide * (scales[:, None] if projection.transposed else scales)).to(weight.dtype)
        if not torch.isfinite(merged).all():
            raise SealError(f"merging made {place.tensor} infinite in {place.dtype}; lower --strength")
        file.seek(place.start)
        file.write(merged.contiguous().view(torch.uint8).numpy().tobytes())


def _copy_beside(source: Path, folder: Path) -> None:
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith(".") and path.suffix in KEPT_BESIDE and path.name != RECORD:
            shutil.copyfile(path, folder / path.name)


def verify(
    base: LoadedModel, adapter: adapters.Adapter, merged: LoadedModel, samples: list[Sample]
) -> dict[str, float]:
    """Adapted against merged: the largest logit gap at answer positions, and the share of equal greedy answers."""
    encoder = Encoder(base.tokenizer)
    stops = stop_ids(base, encoder.end_of_turn)
    gap, equal, total = 0.0, 0, 0
    for sample in samples:
        example = encoder.encode(sample)
        with torch.no_grad():
            with adapter.attached(base):
                before = answer_logits(base, example.questions, PrefixCache.prefill(base, example.prefix_ids))
                adapted = answer_questions(base, example, stops)
            after = answer_logits(merged, example.questions, PrefixCache.prefill(merged, example.prefix_ids))
            folded = answer_questions(merged, example, stops)
        gap = max(gap, *(float((a.double() - b.double()).abs().max()) for a, b in zip(before, after, strict=True)))
        equal += sum(a.ids == b.ids for a, b in zip(adapted, folded, strict=True))
        total += len(adapted)
    return {"largest_logit_gap": gap, "greedy_agreement": equal / total, "answers": total}
