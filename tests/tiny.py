# SPDX-License-Identifier: Apache-2.0
"""A family's name -> a tiny model of random weights and a tokenizer trained on the spot: real code paths, no downloads.

Every weight is drawn, biases and norms too, so that no term hides behind a zero or a one, and drawn large enough that
an attention off by one position writes other tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from seal_attention.embedded import quiet_transformers
from seal_attention.loading import pick_attention, prefer_blockwise
from seal_attention.models import LoadedModel
from seal_attention.projections import find_output_projections
from seal_attention.prompts import Encoder, Example, joined
from seal_attention.samples import Question, Sample

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CORPUS = ("The register of line crimson-maple holds the number 4821.", "What number does line amber-falcon hold?")
SPECIAL = ("<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>")
VOCABULARY = 272
WINDOW = 12  # of sliding layers; it binds, since the shared prefix of `example` is longer

COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "tie_word_embeddings": False,
}
SIZES = {**COMMON, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
GROUPED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2}
EXPERTS = {**GROUPED, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
WIDE = {**GROUPED, "head_dim": 16}  # four heads of 16 out of a hidden size of 32
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
LATENT |= {"head_dim": 8, "num_key_value_heads": 4}
SLIDE = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
SHARED = {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2}
VISION = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
GEMMA3 = {**WIDE, **SLIDE, "model_type": "gemma3_text"}

# Each family's configuration: what must work from one end of the package to the other.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**GROUPED, "model_type": "llama"},
    "mistral": {**GROUPED, "model_type": "mistral", "sliding_window": WINDOW},
    "qwen2": {**GROUPED, "model_type": "qwen2"},
    "qwen3": {**WIDE, "model_type": "qwen3"},
    "gemma2": {**WIDE, **SLIDE, "model_type": "gemma2"},
    "gemma3_text": GEMMA3,
    "gemma3-with-vision": {
        "model_type": "gemma3",
        "tie_word_embeddings": False,
        "text_config": GEMMA3,
        "vision_config": {**VISION, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    },
    "gemma4_text": {**WIDE, **SLIDE, **SHARED, "model_type": "gemma4_text", "global_head_dim": 16},
    "phi": {**GROUPED, "model_type": "phi"},
    "phi3": {**GROUPED, "model_type": "phi3"},
    "gpt2": {**SIZES, "model_type": "gpt2"},
    "gpt_neo": {**COMMON, "model_type": "gpt_neo", "hidden_size": 32, "num_layers": 2, "num_heads": 4},
    "gpt_neox": {**SIZES, "model_type": "gpt_neox", "intermediate_size": 48},
    "gpt_oss": {**WIDE, **SLIDE, **EXPERTS, "model_type": "gpt_oss", "num_local_experts": 4},
    "falcon-one-key-head": {**SIZES, "model_type": "falcon", "multi_query": True, "alibi": False},
    "falcon-grouped": {**SIZES, "model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-alibi": {**SIZES, "model_type": "falcon", "multi_query": False, "alibi": True},
    "opt": {**SIZES, "model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32},
    "mpt": {**COMMON, "model_type": "mpt", "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512},
    "olmo2": {**GROUPED, "model_type": "olmo2"},
    "cohere": {**GROUPED, "model_type": "cohere"},
    "granite": {**GROUPED, "model_type": "granite"},
    "mixtral": {**EXPERTS, "model_type": "mixtral", "num_local_experts": 4},
    "qwen2_moe": {**EXPERTS, "model_type": "qwen2_moe", "num_experts": 4},
    "qwen3_moe": {**EXPERTS, "model_type": "qwen3_moe", "num_experts": 4, "head_dim": 16},
    "deepseek_v3": {**EXPERTS, **LATENT, "model_type": "deepseek_v3", "n_routed_experts": 4},
    "stablelm": {**GROUPED, "model_type": "stablelm", "partial_rotary_factor": 0.5},
    "starcoder2": {**GROUPED, "model_type": "starcoder2", "sliding_window": WINDOW},
    "gptj": {**SIZES, "model_type": "gptj", "rotary_dim": 4},
    "bloom": {**COMMON, "model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
}
FAMILIES["gpt_neo"] |= {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "intermediate_size": 48}
FAMILIES["deepseek_v3"] |= {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
FAMILIES["gemma4_text"] |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY}

# Families whose layers keep more than keys and values, or nothing at all: questions can't share a prefix.
UNSHAREABLE: dict[str, dict[str, Any]] = {
    "lfm2": {**GROUPED, "model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
    "qwen3_next": {**EXPERTS, "model_type": "qwen3_next", "num_experts": 4},
    "falcon_h1": {**GROUPED, "model_type": "falcon_h1", "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16},
}
UNSHAREABLE["openai-gpt"] = {**SIZES, "model_type": "openai-gpt"}
UNSHAREABLE["qwen3_next"] |= {"layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4}
UNSHAREABLE["qwen3_next"] |= {"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
NO_ATTENTION = {**SIZES, "model_type": "mamba", "state_size": 4}


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE over any text, with a chat template, BOS, EOS and a token that ends a turn."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bare.train_from_iterator(CORPUS, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    wrapped.chat_template = TEMPLATE
    return wrapped


def from_config(settings: dict[str, Any], dtype: torch.dtype, seed: int = 0) -> PreTrainedModel:
    """A frozen model in evaluation mode, every parameter drawn from `seed`."""
    config = AutoConfig.for_model(**settings)
    with quiet_transformers():
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=dtype,
            attn_implementation=pick_attention("auto", config),
            experts_implementation="eager",  # the grouped kernels know no float64
        )
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter.copy_(noise * 0.3 if parameter.ndim > 1 else parameter + noise * 0.1)
    prefer_blockwise(model)
    return model.requires_grad_(False).eval()


def load(family: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> LoadedModel:
    """A tiny model of one's own, as `loading.load` would give it; `changes` go into its configuration."""
    name = f"tiny {family}"
    model = from_config({**(FAMILIES | UNSHAREABLE)[family], **changes}, dtype, seed)
    return LoadedModel(name, model, tokenizer(), find_output_projections(model, name))


@functools.cache
def shared(family: str, dtype: torch.dtype = torch.float64) -> LoadedModel:
    """The tiny model that all tests share: only to be read. In float64, where equality can be asked of digits."""
    return load(family, dtype)


def save(family: str, folder: Path, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Path:
    """A model folder with its tokenizer, for `loading.load` and the command line."""
    with quiet_transformers():
        from_config({**FAMILIES[family], **changes}, dtype, seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def sample(max_new_tokens: int = 6) -> Sample:
    """One context with three questions, ragged in their own length and in that of their targets."""
    questions = (
        Question(text="What number does line amber hold?", answers=("482",), target="The number 482"),
        Question(text="And crimson?", answers=("10",), target="10"),
        Question(text="The number of line maple, please:", answers=("7",), target="It is 7.", answer_prefix="So: "),
    )
    context = "line amber: 482, line crimson: 10, line maple: 7. "
    return Sample("tiny/0", "lines", context, questions, max_new_tokens)


def example(max_new_tokens: int = 6) -> Example:
    """The sample encoded; its shared prefix is longer than WINDOW."""
    return Encoder(tokenizer()).encode(sample(max_new_tokens))


def along(max_new_tokens: int = 6) -> Example:
    """The sample's questions, two of them asked before the context has ended, at different places, as one example."""
    whole = sample(max_new_tokens)
    asked = zip(whole.questions, (18, None, 34), strict=True)
    parts = [dataclasses.replace(whole, context=whole.context[:end], questions=(q,)) for q, end in asked]
    return joined([Encoder(tokenizer()).encode(part) for part in parts])


class Float64(TorchFunctionMode):
    """Keeps in float64 what families compute "up" in float32 (norms, softmaxes, rotations).

    In a float64 model that step rounds down, by which two orders of summation differ in the eighth digit.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run `func` with float64 wherever it is asked for float32."""
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        return func(*args, **{key: torch.float64 if v is torch.float32 else v for key, v in (kwargs or {}).items()})
