"""`model:` which network is trained, and from what start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.schema._base import Section

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


class Build(Section):
    """The shape of a Transformer that is made from nothing, with a tokenizer trained on the run's own texts."""

    layers: Positive = 6
    """Blocks of the encoder."""
    decoder_layers: Positive | None = None
    """Blocks of the decoder; null takes `layers`."""
    width: Positive = 512
    """Width of the hidden states; a multiple of `heads`."""
    heads: Positive = 8
    """Attention heads of a block."""
    feedforward: Positive | None = None
    """Width inside the feed-forward part; null takes four times `width`."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Dropout probability of hidden states."""
    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)] = 8_000
    """Pieces of the tokenizer, source and target together."""
    max_positions: Positive = 512
    """Longest text in tokens."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Build:
        if self.width % self.heads:
            raise ValueError(f"model.build.width ({self.width}) is no multiple of model.build.heads ({self.heads})")
        if self.width % 2:
            raise ValueError(f"model.build.width ({self.width}) must be even, for sines and cosines of positions")
        return self


class Lora(Section):
    """Low-rank adapters in place of the weights (Hu et al. 2021, arXiv 2106.09685). Checkpoints hold merged weights."""

    r: Annotated[int, Field(ge=0, le=4_096)] = 0
    """Rank of the two small matrices that are trained in place of each large one; 0 trains the weights themselves."""
    alpha: Annotated[float, Field(gt=0.0, le=65_536.0)] = 16.0
    """Their product counts `alpha / r` times."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout probability of what the adapters read."""
    targets: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Linear layers that get adapters, by the end of their names; none in a part that `model.freeze` names."""


class Model(Section):
    """The model that a run trains."""

    name: Annotated[str, Field(min_length=1)]
    """Hub name, local directory in hub format, Forge run directory, an embedded model such as
    `embedded/tiny-distilbert`, or `built/marian`, which `model.build` gives its shape."""
    revision: str | None = None
    """Git revision of the hub model; pins it."""
    init: Literal["pretrained", "random"] = "pretrained"
    """`pretrained` loads the weights; `random` takes the architecture alone and draws new ones."""
    keep_layers: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = None
    """Blocks of the named model to keep, counted from 1, in the new order: `[1, 3, 5]` makes a model of three layers
    that starts from copies of those; null keeps all."""
    labels: Annotated[list[str], Field(min_length=2)] | None = None
    """What the outputs of a trained head mean, in order, where its own configuration does not say."""
    head: Literal["auto", "keep", "new"] = "auto"
    """`auto` keeps a trained head whose labels are the data's and draws a new one otherwise; a trained head with
    nameless labels is refused until this says `keep` (same order as the data) or `new`."""
    build: Build = Build()
    """Shape of `built/marian`."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Replaces every dropout probability of the model; null keeps the model's own."""
    freeze: Annotated[list[Name], Field(min_length=1)] | None = None
    """Parts that are not trained: `vision`, `projector` or `text` of a model that reads images, or the name of any
    module, such as `encoder` or `layers.0`, with all that lies in it."""
    lora: Lora = Lora()
    """Low-rank adapters, which are trained alone where `model.lora.r` is above 0."""
    tokenizer: str | None = None
    """Tokenizer by name or path; null takes the model's own."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository carries; needs `model.revision`."""
    stand_in: str | None = None
    """Embedded model that takes this one's place in a smoke run without network."""

    @model_validator(mode="after")
    def _label_names_differ(self) -> Model:
        if self.labels and len(set(self.labels)) != len(self.labels):
            raise ValueError("model.labels names a label twice")
        return self

    @model_validator(mode="after")
    def _kept_layers_differ(self) -> Model:
        if self.keep_layers and len(set(self.keep_layers)) != len(self.keep_layers):
            raise ValueError("model.keep_layers names a layer twice")
        return self

    @model_validator(mode="after")
    def _remote_code_is_pinned(self) -> Model:
        if self.trust_remote_code and not self.revision:
            raise ValueError("model.trust_remote_code needs model.revision: a pinned commit is the code you have read")
        return self
