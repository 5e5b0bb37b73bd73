"""Where the blocks and attentions of known architectures lie, and the names of places inside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from forge.core.errors import UserError

Kind = Literal["self", "cross"]


@dataclass(frozen=True)
class Stack:
    """One stack of blocks; `width` is that of its hidden states, `heads` is 0 where its blocks do not attend."""

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    causal: bool
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, order=True)
class HiddenSite:
    """Layer 0 is the input of the first block, layer m the output of block m, before any norm after the last block.

    So it equals `hidden_states[m]` of transformers, except for the last m of stacks that end with a norm (Llama and
    its kin, T5, mBART): transformers puts the normed state there.
    """

    stack: str
    layer: int

    def __str__(self) -> str:
        return f"{self.stack}.hidden.{self.layer}"


@dataclass(frozen=True, order=True)
class AttentionSite:
    """The self- or cross-attention of block `layer`, counted from 1."""

    stack: str
    kind: Kind
    layer: int

    def __str__(self) -> str:
        return f"{self.stack}.{self.kind}.{self.layer}"


@dataclass(frozen=True)
class Plan:
    """How an architecture names the parts of one stack; paths start at the base model or, where noted, further in."""

    blocks: str
    attention: Mapping[Kind, str]  # from a block; empty where blocks do not attend
    projections: tuple[str, str, str] = ("", "", "")  # linear layers of query, key and value, from the attention
    norms: tuple[str, str] | None = None  # of query and key, after their projections
    heads: str = "num_attention_heads"  # its name in the config
    causal: bool = False
    scaled: bool = True  # scores are divided by √head_dim
    rotary: str | None = None  # its output is the cosines and sines that turn queries and keys
    bias: str | None = None  # from the first block: its output is added to the self-attention scores of every block
    grid: bool = False  # blocks pass maps BDHW; as hidden states their cells are read row by row


_BERT = {"encoder": Plan("encoder.layer", {"self": "attention.self"}, ("query", "key", "value"))}
_DISTILBERT = {"encoder": Plan("transformer.layer", {"self": "attention"}, ("q_lin", "k_lin", "v_lin"))}
_BART_NAMES = ("q_proj", "k_proj", "v_proj")
_BART = {
    "encoder": Plan("encoder.layers", {"self": "self_attn"}, _BART_NAMES, heads="encoder_attention_heads"),
    "decoder": Plan(
        "decoder.layers",
        {"self": "self_attn", "cross": "encoder_attn"},
        _BART_NAMES,
        heads="decoder_attention_heads",
        causal=True,
    ),
}
_T5_SELF, _T5_BIAS = "layer.0.SelfAttention", "layer.0.SelfAttention.relative_attention_bias"
_T5 = {
    "encoder": Plan("encoder.block", {"self": _T5_SELF}, ("q", "k", "v"), scaled=False, bias=_T5_BIAS),
    "decoder": Plan(
        "decoder.block",
        {"self": _T5_SELF, "cross": "layer.1.EncDecAttention"},
        ("q", "k", "v"),
        causal=True,
        scaled=False,
        bias=_T5_BIAS,
    ),
}
_LLAMA = {"decoder": Plan("layers", {"self": "self_attn"}, _BART_NAMES, causal=True, rotary="rotary_emb")}
_QWEN3 = {
    "decoder": Plan(
        "layers", {"self": "self_attn"}, _BART_NAMES, norms=("q_norm", "k_norm"), causal=True, rotary="rotary_emb"
    )
}
_TROCR = {"decoder": _BART["decoder"]}
_VIT = {"encoder": Plan("layers", {"self": "attention"}, _BART_NAMES)}
_IMAGE_TO_TEXT = "vision-encoder-decoder"  # two models of their own types in one
COVERED: Mapping[str, Mapping[str, Plan]] = {
    "bart": _BART,
    "bert": _BERT,
    "camembert": _BERT,
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "forge-page": {"encoder": Plan("blocks", {}, grid=True)},
    "llama": _LLAMA,
    "marian": _BART,
    "mbart": _BART,
    "mistral": _LLAMA,
    "mt5": _T5,
    "qwen2": _LLAMA,
    "qwen3": _QWEN3,
    "roberta": _BERT,
    "t5": _T5,
    "trocr": _TROCR,
    _IMAGE_TO_TEXT: {},
    "vit": _VIT,
    "xlm-roberta": _BERT,
}
"""By `config.model_type`. A new architecture is a line here and a tiny model in the tests."""
WRITERS: Mapping[str, str] = {"idefics3": "text_model", "lighton_ocr": "language_model", "smolvlm": "text_model"}
"""Models that read images and write with a covered language model, which is their decoder; what sees is no stack."""


@dataclass(frozen=True)
class FoundStack:
    """A plan and the modules of one model that it points to."""

    name: str
    owner: str  # the model, in words
    plan: Plan
    base: nn.Module
    blocks: nn.ModuleList
    stack: Stack

    def block(self, site: HiddenSite | AttentionSite) -> nn.Module:
        """The block that a site reads; its layer must exist."""
        first = 0 if isinstance(site, HiddenSite) else 1
        if not first <= site.layer <= self.stack.depth:
            raise UserError(
                f"{site}: the {self.name} of {self.owner} has {self.stack.depth} layers, so this number is one of "
                f"{first} to {self.stack.depth}"
            )
        return self.blocks[max(site.layer - 1, 0)]

    def attention(self, site: AttentionSite) -> nn.Module:
        """The attention module of a site."""
        if site.kind not in self.plan.attention:
            raise UserError(f"{site}: the {self.name} of {self.owner} has no {site.kind}-attention")
        return self.block(site).get_submodule(self.plan.attention[site.kind])


def layout(model: nn.Module) -> dict[str, Stack]:
    """The stacks of a model by name: an encoder, a decoder, or both."""
    return {name: found.stack for name, found in find(model).items()}


def find(model: nn.Module) -> dict[str, FoundStack]:
    """The stacks of a model with their modules; refuses an architecture that is not in the table."""
    bare: Any = unwrap(model)
    config = getattr(bare, "config", None)
    model_type = str(getattr(config, "model_type", None))
    if model_type == _IMAGE_TO_TEXT:
        return find(bare.encoder) | find(bare.decoder)
    if model_type in WRITERS:
        return find(bare.base_model.get_submodule(WRITERS[model_type]))
    owner = f"'{model_type}' ({type(bare).__name__})"
    if model_type not in COVERED:
        raise UserError(
            f"{owner} is not covered by feature and attention losses; covered are {', '.join([*COVERED, *WRITERS])}; "
            "response losses work with any model"
        )
    base = bare.base_model
    present = {module for module, _ in base.named_modules()}  # an encoder may come without its decoder
    plans = {name: plan for name, plan in COVERED[model_type].items() if plan.blocks in present}
    return {name: _found(name, owner, plan, base, config) for name, plan in plans.items()}


def find_stack(stacks: Mapping[str, FoundStack], site: HiddenSite | AttentionSite) -> FoundStack:
    """The stack that a site names."""
    if site.stack not in stacks:
        owner = next(iter(stacks.values())).owner
        raise UserError(f"{site}: {owner} has no {site.stack}; it has {' and '.join(stacks)}")
    return stacks[site.stack]


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP and other containers that hold it as `module`."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


def _found(name: str, owner: str, plan: Plan, base: nn.Module, config: Any) -> FoundStack:
    blocks = base.get_submodule(plan.blocks)
    assert isinstance(blocks, nn.ModuleList)
    heads = kv_heads = head_dim = 0
    if plan.attention:
        attention: Any = blocks[0].get_submodule(plan.attention["self"])
        query, key, _ = (attention.get_submodule(part) for part in plan.projections)
        heads = getattr(config, plan.heads)
        head_dim = query.out_features // heads
        kv_heads = key.out_features // head_dim
    stack = Stack(
        depth=len(blocks),
        width=config.hidden_size,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        causal=plan.causal or getattr(config, "is_decoder", False),  # BERT can be configured as a decoder
        kinds=tuple(plan.attention),
    )
    return FoundStack(name, owner, plan, base, blocks, stack)
