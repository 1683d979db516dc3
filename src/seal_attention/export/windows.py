# SPDX-License-Identifier: Apache-2.0
"""An extended model -> what its merged folder says of the window: in config.json or, where that can't, how to serve it.

Rotary scaling is configuration; what an extension does within attention is not, and a merged model comes without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ..embedded import quiet_transformers
from ..errors import SealError
from ..extension import Extension, parse
from ..extension.parsing import SuggestedSelfExtend
from ..extension.self_extend import SelfExtend
from ..models import LoadedModel
from ..runs import load_json, save_json

WINDOW = "max_position_embeddings"


def save_config(model: LoadedModel, folder: Path) -> None:
    """Rewrite the folder's config.json with the rope parameters and the window of the extended model.

    All else stays as it was; without an extension that config.json can say, the file is left alone. Where it speaks
    transformers 4 (`rope_theta`, `rope_scaling`) it goes on doing so, for engines that read nothing newer. SealError
    where transformers then reads something else than was meant.
    """
    if not in_config(model.extension):
        return
    config = model.model.config
    text = config.get_text_config(decoder=True)
    path = folder / "config.json"
    whole = load_json(path)
    part = whole
    if text is not config:
        part = whole[next(name for name in config.sub_configs if getattr(config, name) is text)]
    parameters = text.rope_parameters
    scaled = parameters["full_attention"] if text.nested_rope_parameter_keys(parameters) else parameters
    part |= {"rope_parameters": parameters, WINDOW: getattr(text, WINDOW)}
    if "rope_theta" in part:
        part["rope_theta"] = scaled["rope_theta"]
    if "rope_scaling" in part or ("rope_theta" in part and scaled["rope_type"] != "default"):
        scaling = {key: value for key, value in scaled.items() if key != "rope_theta"}
        part["rope_scaling"] = scaling if scaled["rope_type"] != "default" else None
    save_json(path, whole)
    with quiet_transformers():
        read = AutoConfig.from_pretrained(folder).get_text_config(decoder=True)
    if (read.rope_parameters, getattr(read, WINDOW)) != (parameters, getattr(text, WINDOW)):
        raise SealError(
            f"the config.json of {model.name} can't be made to say {model.extension}: transformers reads "
            f"{read.rope_parameters} from it where {parameters} was written; merge without --extend"
        )


def in_config(extend: str | None) -> bool:
    """Whether a merged model keeps the extension by itself."""
    return extend is not None and parse(extend).in_config


def note_of(model: LoadedModel) -> dict[str, Any]:
    """What seal_merged.json says of the window; nothing where it was not extended."""
    if model.extension is None:
        return {}
    held = {"extend": model.extension, "native_window": model.native_window, "window": model.window}
    if in_config(model.extension):
        return {"extension": {**held, "in_config": True}}
    assert model.native_window is not None
    serving = how_to_serve(parse(model.extension), model.native_window)
    return {"extension": {**held, "in_config": False, "serving": serving}}


def how_to_serve(extension: Extension, native_window: int) -> str:
    """A sentence: that the merged model is without the extension, and who can put it there."""
    left_out = f"{extension.name} works within attention and is not in the merged model; here it takes --extend again"
    if isinstance(extension, SuggestedSelfExtend):
        extension = extension.settled(native_window)
    if isinstance(extension, SelfExtend):
        width = max(1, extension.window // extension.group) * extension.group  # it takes only what the group divides
        return (
            f"{left_out}, and llama.cpp's llama-completion (not its server) takes --grp-attn-n {extension.group} "
            f"--grp-attn-w {width}, its own form of it"
        )
    return (
        f"{left_out}, and vLLM has had dual chunk attention for models whose config.json asks for it "
        "(dual_chunk_attention_config, as in Qwen2.5-1M; attention backend DUAL_CHUNK_FLASH_ATTN)"
    )
