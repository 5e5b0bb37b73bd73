"""`distill:` which losses compare student and teacher, on which layers, with which weights.

A loss takes part when its weight is above 0. The whole loss of a step is
(1 - alpha) · task loss + alpha · Σ weight · loss over those that take part.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from forge.config.schema._base import Section

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Temperature = Annotated[float, Field(gt=0, le=1000)]
Layers = Literal["uniform", "last"] | list[list[int]]


class Loss(Section):
    """What every distillation loss has."""

    weight: Weight = 0.0
    """Weight of this loss; 0 leaves it out."""


class ForwardKL(Loss):
    """Response: KL(teacher ‖ student) of the softened probabilities, times T² (Hinton et al. 2015)."""

    temperature: Temperature = 2.0
    """Both logits are divided by it: higher shows more of the unlikely classes."""
    standardise: bool = False
    """Bring both logits to mean 0 and deviation 1 first; loses the confidence where there are few classes."""


class JSD(Loss):
    """Response: generalised Jensen-Shannon divergence (Agarwal et al. 2024), from forward to reverse KL."""

    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the teacher in the mixture: 0 is forward KL, 1 is reverse KL."""
    temperature: Temperature = 1.0
    """Both logits are divided by it."""


class DKD(Loss):
    """Response: decoupled KD (Zhao et al. 2022): right class against the rest, and the rest among themselves."""

    temperature: Temperature = 2.0
    """Both logits are divided by it."""
    target_weight: Weight = 1.0
    """Weight of the right class against the rest (α of the paper)."""
    other_weight: Weight = 2.0
    """Weight of the rest among themselves (β of the paper)."""


class LogitMSE(Loss):
    """Response: mean squared difference of the logits."""

    center: bool = True
    """Take the mean over classes off first, which softmax does not see."""


class SkewKL(Loss):
    """Response: KL(teacher ‖ skew · teacher + (1 - skew) · student) (Ko et al. 2024)."""

    skew: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the teacher in the mixture."""
    temperature: Temperature = 1.0
    """Both logits are divided by it."""


class TopKKL(Loss):
    """Response: forward KL over the teacher's k likeliest classes and one more for all the rest."""

    k: Positive = 64
    """How many classes are compared one by one."""
    temperature: Temperature = 1.0
    """Both logits are divided by it."""


class ULD(Loss):
    """Response: difference of the sorted probabilities (Boizard et al. 2024); vocabularies may differ."""

    temperature: Temperature = 1.0
    """Both logits are divided by it."""


class _Layered(Loss):
    layers: Layers | None = None
    """Which layers are compared: `uniform`, `last` or pairs; null takes `distill.layers`."""

    @field_validator("layers")
    @classmethod
    def _are_pairs(cls, layers: Layers | None) -> Layers | None:
        return check_layers(layers)


class _Projected(_Layered):
    projection: Literal["auto", "shared", "always", "none"] = "auto"
    """A trained linear map from the student's width to the teacher's. `auto`: one a pair where widths differ;
    `shared`: one for all pairs; `always`: one a pair even where widths agree; `none`: widths must agree."""


class HiddenMSE(_Projected):
    """Feature: mean squared difference of the hidden states (FitNets, TinyBERT)."""


class Cosine(_Projected):
    """Feature: 1 - cosine of the hidden states (DistilBERT)."""


class LinearCKA(_Layered):
    """Feature: 1 - linear centred kernel alignment of the hidden states (Kornblith et al. 2019); any widths."""

    group: Positive = 32
    """Examples that are compared with each other; micro-batches must hold whole groups."""


class RKD(_Layered):
    """Feature: relations among examples, distances and angles of mean-pooled hidden states (Park et al. 2019)."""

    group: Annotated[int, Field(ge=3, le=64)] = 32
    """Examples that are compared with each other; micro-batches must hold whole groups."""
    distance_weight: Weight = 25.0
    """Weight of the distances."""
    angle_weight: Weight = 50.0
    """Weight of the angles."""


class ScoreMSE(_Layered):
    """Attention: mean squared difference of the scores before softmax (TinyBERT)."""

    center: bool = False
    """Take the mean off each row first, which softmax does not see."""


class AttentionKL(_Layered):
    """Attention: KL between the attention distributions (MiniLM)."""

    layers: Layers | None = "last"
    """Which layers are compared: `uniform`, `last` or pairs; null takes `distill.layers`."""
    value_relation: bool = False
    """Compare the relations among values as well, as MiniLM does."""
    relation_heads: Positive | None = None
    """Heads of the value relation; null takes the most that divide both widths, up to the teacher's heads."""


class SelfRelation(_Layered):
    """Attention: KL between the relations among queries, keys and values (MiniLMv2); any widths and heads."""

    layers: Layers | None = "last"
    """Which layers are compared: `uniform`, `last` or pairs; null takes `distill.layers`."""
    relation_heads: Positive | None = None
    """Heads that the widths are cut into; null takes the most that divide both, up to the teacher's heads."""


class Cache(Section):
    """The teacher's outputs for the training examples, computed once and read in every epoch of every run."""

    mode: Literal["auto", "off", "on", "require"] = "auto"
    """`auto`: used where the run sees examples more than once and the files stay below the limit; `on`: always;
    `require`: it must be full already, no teacher is loaded; `off`: the teacher runs in every step."""
    dir: Annotated[str, Field(min_length=1)] | None = None
    """Directory that all caches share; null takes `teacher_cache` in `run.dir`."""
    dtype: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Number format of cached hidden states, queries, keys and values; logits are always kept in fp32."""
    top_k: Positive | None = None
    """Of a model that writes text: how many of the likeliest tokens are kept for each position; losses see the others
    as equally likely. Null keeps all, or, where `topk_kl` alone looks at logits, its `k`."""
    max_gigabytes: Annotated[float, Field(gt=0)] = 8.0
    """Largest cache that `auto` makes."""


class Sequence(Section):
    """Sequence-level distillation (Kim & Rush 2016): the student writes what its teacher would have written.

    The teacher translates all training texts, or reads all training pages, once; what it wrote is kept as text beside
    the teacher cache.
    """

    targets: Literal["reference", "teacher", "closest", "both"] = "reference"
    """What the student learns to write: `reference`: the data's targets; `teacher`: the teacher's best text;
    `closest`: of all that the search kept, the one most like the reference (in BLEU, of pages in edits);
    `both`: reference and teacher in turn."""
    beams: Positive = 5
    """Width of the teacher's search."""
    length_penalty: float = 1.0
    """Exponent by which a longer text of the teacher is favoured."""


class Distill(Section):
    """How student and teacher are compared."""

    layers: Layers = "uniform"
    """Layer map for the losses that name none of their own. Layers count from 1, 0 is the embeddings. `uniform`:
    student layer m of S learns from teacher layer m·T/S; `last`: last from last; or pairs `[[1, 2], [2, 4]]`."""
    balance: Literal["none", "gradient_norm"] = "none"
    """`gradient_norm` scales each loss before its first step so that its gradient is weight times as long as that of
    the task loss; then a weight means the same for every loss."""
    gradient_norm_every: Positive | None = 100
    """Steps between two measurements of each loss's gradient norm, after that of step 1; null measures none."""
    projection_learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """Peak learning rate of the projections, which start at random; null takes `train.learning_rate`."""
    shuffle_logits: bool = False
    """Control: every label learns from what the teacher said of another example of its batch. What response losses
    still give then is no knowledge of the examples."""
    cache: Cache = Cache()
    """The teacher cache."""
    sequence: Sequence = Sequence()
    """The teacher's own texts as targets, of models that write text. Beside other losses, or alone."""
    forward_kl: ForwardKL = ForwardKL()
    """Response 1."""
    jsd: JSD = JSD()
    """Response 2."""
    dkd: DKD = DKD()
    """Response 3."""
    hidden_mse: HiddenMSE = HiddenMSE()
    """Feature 1."""
    cosine: Cosine = Cosine()
    """Feature 2."""
    linear_cka: LinearCKA = LinearCKA()
    """Feature 3."""
    score_mse: ScoreMSE = ScoreMSE()
    """Attention 1."""
    attention_kl: AttentionKL = AttentionKL()
    """Attention 2."""
    self_relation: SelfRelation = SelfRelation()
    """Attention 3."""
    logit_mse: LogitMSE = LogitMSE()
    """Response, beyond the nine."""
    skew_kl: SkewKL = SkewKL()
    """Response, beyond the nine."""
    topk_kl: TopKKL = TopKKL()
    """Response, beyond the nine."""
    uld: ULD = ULD()
    """Response, beyond the nine."""
    rkd: RKD = RKD()
    """Feature, beyond the nine."""

    @field_validator("layers")
    @classmethod
    def _are_pairs(cls, layers: Layers) -> Layers:
        return check_layers(layers) or layers

    def losses(self) -> dict[str, Loss]:
        """The losses that take part, by name, in the order of the schema."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in named.items() if isinstance(value, Loss) and value.weight > 0}


def check_layers(layers: Layers | None) -> Layers | None:
    """Pairs must be pairs of layer numbers."""
    if isinstance(layers, list):
        if not layers:
            raise ValueError("an empty layer map compares nothing; name pairs, `uniform` or `last`")
        for pair in layers:
            if len(pair) != 2 or min(pair) < 0:
                raise ValueError(f"{pair} is not a pair [student layer, teacher layer], counted from 1 (0: embeddings)")
    return layers


LOSS_NAMES = tuple(name for name, field in Distill.model_fields.items() if isinstance(field.default, Loss))
"""Every distillation loss, the nine first."""
