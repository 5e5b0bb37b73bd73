"""Recorded hidden states and projections against transformers' own outputs, on tiny models of every covered type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from forge.core.errors import UserError
from forge.models.capture import AttentionSite, HiddenSite, Projections, Recorder, Stack, layout, scores
from forge.models.layout import COVERED, WRITERS
from forge.models.page_encoder import PageEncoderConfig

VOCABULARY, LENGTH = 50, 7
BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
LLAMA = BERT | {"num_key_value_heads": 2}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 16,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 6,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
}
SMALL: dict[str, tuple[Any, Any]] = {
    "bert": (hf.BertForSequenceClassification, hf.BertConfig(**BERT)),
    "roberta": (hf.RobertaForSequenceClassification, hf.RobertaConfig(**BERT)),
    "xlm-roberta": (hf.XLMRobertaForSequenceClassification, hf.XLMRobertaConfig(**BERT)),
    "camembert": (hf.CamembertForSequenceClassification, hf.CamembertConfig(**BERT)),
    "electra": (hf.ElectraForSequenceClassification, hf.ElectraConfig(**BERT, embedding_size=16)),
    "distilbert": (
        hf.DistilBertForSequenceClassification,
        hf.DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_layers=3, n_heads=4, hidden_dim=16),
    ),
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**LLAMA)),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig(**LLAMA, head_dim=6)),
    "qwen2": (hf.Qwen2ForSequenceClassification, hf.Qwen2Config(**LLAMA)),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**LLAMA, head_dim=6)),
    "bart": (hf.BartForConditionalGeneration, hf.BartConfig(**BART)),
    "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig(**BART)),
    "marian": (hf.MarianMTModel, hf.MarianConfig(**BART)),
    "t5": (hf.T5ForConditionalGeneration, hf.T5Config(**T5)),
    "mt5": (hf.MT5ForConditionalGeneration, hf.MT5Config(**T5)),
}
TROCR = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 40,
    "cross_attention_hidden_size": 32,
    "pad_token_id": 0,
}
VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 16, "num_channels": 1}
PAGE = (32, 40)
READERS: dict[str, Any] = {
    "forge-page": PageEncoderConfig(hidden_size=32, num_hidden_layers=3),
    "vit": hf.ViTConfig(**VIT, image_size=PAGE, patch_size=8),
}
SMALL |= {
    f"{name}+trocr": (
        hf.VisionEncoderDecoderModel,
        hf.VisionEncoderDecoderConfig(
            encoder=config.to_dict(),
            decoder=hf.TrOCRConfig(**TROCR, is_decoder=True).to_dict(),
            pad_token_id=0,
            decoder_start_token_id=1,
        ),
    )
    for name, config in READERS.items()
}
READING = {f"{name}+trocr" for name in READERS}
SEQ2SEQ = {"bart", "mbart", "marian", "t5", "mt5"} | READING
CELLS = {"forge-page+trocr": 2 * 5, "vit+trocr": 1 + 4 * 5}  # that the encoder makes of a page
# The last entry of transformers' hidden_states is after this norm.
LLAMA_NORM = {"decoder": "norm"}
T5_NORM = {"encoder": "encoder.final_layer_norm", "decoder": "decoder.final_layer_norm"}
FINAL_NORM = {
    "llama": LLAMA_NORM,
    "mistral": LLAMA_NORM,
    "qwen2": LLAMA_NORM,
    "qwen3": LLAMA_NORM,
    "t5": T5_NORM,
    "mt5": T5_NORM,
    "mbart": {"encoder": "encoder.layer_norm", "decoder": "decoder.layer_norm"},
}
RIGHT = torch.tensor([[1] * LENGTH, [1] * 4 + [0] * 3])
CASES = [(name, RIGHT) for name in SMALL] + [(name, RIGHT.flip(1)) for name in ("llama", "mistral", "qwen3")]
every_case = pytest.mark.parametrize(
    ("name", "mask_BL"), CASES, ids=[f"{name}{'-left' if i >= len(SMALL) else ''}" for i, (name, _) in enumerate(CASES)]
)
every_model = pytest.mark.parametrize("name", SMALL)


def build(name: str, attention: str = "sdpa", seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model_class, config = SMALL[name]
    asked = None if name in READING and attention == "sdpa" else attention  # TrOCR knows only eager, and says so
    model = model_class(model_class.config_class.from_dict(config.to_dict(), attn_implementation=asked)).eval()
    for parameter in model.parameters():  # the usual initial weights give all but uniform attention
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def inputs(name: str, mask_BL: torch.Tensor = RIGHT) -> dict[str, torch.Tensor]:
    ids_BL = torch.randint(3, VOCABULARY, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    if name in READING:
        page_BCHW = torch.rand(2, 1, *PAGE, generator=torch.Generator().manual_seed(2))
        return {"pixel_values": page_BCHW, "decoder_input_ids": ids_BL, "decoder_attention_mask": mask_BL}
    batch = {"input_ids": ids_BL.where(mask_BL.bool(), 0), "attention_mask": mask_BL}
    if name in SEQ2SEQ:
        batch |= {"decoder_input_ids": ids_BL[:, :5], "decoder_attention_mask": mask_BL[:, :5]}
    return batch


def all_sites(stacks: dict[str, Stack]) -> tuple[list[HiddenSite], list[AttentionSite]]:
    hidden = [HiddenSite(name, m) for name, stack in stacks.items() for m in range(stack.depth + 1)]
    attention = [
        AttentionSite(name, kind, m)
        for name, stack in stacks.items()
        for kind in stack.kinds
        for m in range(1, stack.depth + 1)
    ]
    return hidden, attention


def record_all(model: Any) -> Recorder:
    return Recorder(model, *all_sites(layout(model)))


def theirs(name: str, outputs: Any, stack: str, what: str) -> tuple[torch.Tensor, ...]:
    """Transformers' outputs of one stack, by the name that they have in this kind of model."""
    if name in SEQ2SEQ:
        what = {"self": "attentions", "hidden": "hidden_states"}.get(what, "cross_attentions")
        return outputs[what if what == "cross_attentions" else f"{stack}_{what}"]
    return outputs["attentions" if what == "self" else "hidden_states"]


@every_case
def test_softmax_of_scores_is_eager_attention(name, mask_BL):
    model, eager, batch = build(name), build(name, "eager"), inputs(name, mask_BL)
    eager.load_state_dict(model.state_dict())
    with torch.no_grad(), record_all(model) as recorder:
        model(**batch)
        recorded = recorder.take().attention
        outputs = eager(**batch, output_attentions=True)
    stacks = layout(model)
    assert len(recorded) == sum(stack.depth * len(stack.kinds) for stack in stacks.values())
    cells_BK = torch.ones(2, CELLS[name]) if name in READING else mask_BL  # a page has no padding
    masks = {"encoder": cells_BK, "decoder": batch.get("decoder_attention_mask", mask_BL)}
    for site, projections in recorded.items():
        query_mask_BQ = masks[site.stack].bool()
        key_mask_BK = masks["encoder" if site.kind == "cross" else site.stack].bool()
        visible_BQK = key_mask_BK[:, None, :].expand(-1, query_mask_BQ.shape[1], -1)
        if site.kind == "self" and stacks[site.stack].causal:
            visible_BQK = visible_BQK.tril()
        ours_BHQK = scores(projections).masked_fill(~visible_BQK[:, None], float("-inf")).softmax(-1)
        theirs_BHQK = theirs(name, outputs, site.stack, site.kind)[site.layer - 1]
        assert ours_BHQK.shape == theirs_BHQK.shape
        rows = query_mask_BQ[:, None].expand(theirs_BHQK.shape[:3])
        torch.testing.assert_close(ours_BHQK[rows], theirs_BHQK[rows], atol=1e-5, rtol=0)
        # not near uniform: the comparison says something
        assert ours_BHQK[rows].max() > min(0.3, 3 / ours_BHQK.shape[-1])


@every_case
def test_hidden_sites_are_hidden_states(name, mask_BL):
    model, batch = build(name), inputs(name, mask_BL)
    with torch.no_grad(), record_all(model) as recorder:
        outputs = model(**batch, output_hidden_states=True)
        recorded = recorder.take().hidden
        stacks = layout(model)
        for site, state_BLD in recorded.items():
            expected_BLD = theirs(name, outputs, site.stack, "hidden")[site.layer]
            if site.layer == stacks[site.stack].depth and name in FINAL_NORM:
                norm = model.base_model.get_submodule(FINAL_NORM[name][site.stack])
                assert not torch.equal(state_BLD, expected_BLD)
                assert torch.equal(norm(state_BLD), expected_BLD)
            else:
                assert torch.equal(state_BLD, expected_BLD), site
            assert state_BLD.shape[-1] == stacks[site.stack].width


@every_model
def test_sdpa_stays_on_and_outputs_do_not_change(name, monkeypatch):
    calls = []
    attend = nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or attend(*a, **k)
    )
    model, batch = build(name), inputs(name)
    with torch.no_grad():
        before = model(**batch).logits
        without = len(calls)
        with record_all(model) as recorder:
            during = model(**batch).logits
            recorder.take()
        after = model(**batch).logits
    assert model.config._attn_implementation == "sdpa"
    own = {"decoder"} if name in READING else set()  # the TrOCR decoder has attention of its own, whatever is asked
    stacks = {stack: found for stack, found in layout(model).items() if stack not in own}
    assert without == sum(stack.depth * len(stack.kinds) for stack in stacks.values())
    assert len(calls) == 3 * without
    assert torch.equal(before, during)
    assert torch.equal(before, after)


@every_model
def test_gradients_reach_the_embedding_from_everything_recorded(name):
    model = build(name)
    batch, origins = inputs(name), [model.get_input_embeddings().weight]
    if name in READING:
        origins.append(batch["pixel_values"].requires_grad_())
    with record_all(model) as recorder:
        model(**batch)
        captured = recorder.take()
    tensors = {str(site): state for site, state in captured.hidden.items()}
    for site, p in captured.attention.items():
        tensors |= {f"{site}.q": p.q_BQD, f"{site}.k": p.k_BKE, f"{site}.v": p.v_BKE, f"{site}.scores": scores(p)}
        if p.bias_HQK is not None:
            table = model.base_model.get_submodule(
                f"{site.stack}.block.0.layer.0.SelfAttention.relative_attention_bias"
            )
            (gradient,) = torch.autograd.grad(p.bias_HQK.square().sum(), table.weight, retain_graph=True)
            assert gradient.abs().sum() > 0
    for label, tensor in tensors.items():
        gradients = torch.autograd.grad(tensor.square().sum(), origins, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients), label


@every_model
def test_layout_is_the_models_shape(name):
    model = build(name)
    stacks = layout(model)
    if name in SEQ2SEQ:
        assert [(s.depth, s.causal, s.kinds) for s in stacks.values()] == [
            (3, False, () if name == "forge-page+trocr" else ("self",)),
            (2, True, ("self", "cross")),
        ]
    else:
        causal = name in {"llama", "mistral", "qwen2", "qwen3"}
        heads = (4, 2, 6 if name in {"mistral", "qwen3"} else 8) if causal else (4, 4, 8)
        assert stacks == {"decoder" if causal else "encoder": Stack(3, 32, *heads, causal, ("self",))}
    if name == "bart":
        assert [(s.heads, s.head_dim) for s in stacks.values()] == [(4, 8), (8, 4)]
    if name in {"t5", "mt5"}:
        assert [(s.heads, s.kv_heads, s.head_dim) for s in stacks.values()] == [(4, 4, 6)] * 2


def test_every_covered_type_is_tested():
    apart = {part for name in SMALL for part in name.split("+")}
    assert apart | {"vision-encoder-decoder"} == set(COVERED)


def test_base_models_and_lone_encoders_have_the_same_sites():
    assert layout(build("bert").base_model) == layout(build("bert"))
    assert layout(build("llama").base_model) == layout(build("llama"))
    t5 = build("t5")
    assert layout(hf.T5EncoderModel(t5.config)) == {"encoder": layout(t5)["encoder"]}
    decoder = hf.BertLMHeadModel(hf.BertConfig(**BERT, is_decoder=True))
    assert layout(decoder)["encoder"].causal


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_training_with_dropout_records_what_comes_before_it(name):
    model = build(name).train()
    with record_all(model) as recorder:
        model(**inputs(name))
        recorded = recorder.take().attention
    for projections in recorded.values():
        s_BHQK = scores(projections)
        assert s_BHQK.isfinite().all()
        torch.testing.assert_close(s_BHQK.softmax(-1).sum(-1), torch.ones(s_BHQK.shape[:3]), atol=1e-6, rtol=0)


def test_values_are_the_projected_values():
    model = build("qwen2")
    site = AttentionSite("decoder", "self", 2)
    with torch.no_grad(), Recorder(model, [HiddenSite("decoder", 1)], [site]) as recorder:
        model(**inputs("qwen2"))
        captured = recorder.take()
    block = model.model.layers[1]
    expected = block.self_attn.v_proj(block.input_layernorm(captured.hidden[HiddenSite("decoder", 1)]))
    assert torch.equal(captured.attention[site].v_BKE, expected)
    assert captured.attention[site].v_BKE.shape == (2, LENGTH, 16)
    assert captured.attention[site].bias_HQK is None


def test_a_query_head_meets_the_key_head_of_its_group():
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 2, 5)
    projections = Projections(q.flatten(2), k.flatten(2), k.flatten(2), 4, 2, 0.5, torch.randn(4, 3, 6))
    expected = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(2, dim=2)) * 0.5 + projections.bias_HQK
    torch.testing.assert_close(scores(projections), expected)


def test_other_architectures_are_refused_by_name():
    small = {k: v for k, v in BERT.items() if k != "pad_token_id"}
    model = hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(**small))
    with pytest.raises(UserError) as refused:
        layout(model)
    assert str(refused.value) == (
        "'deberta-v2' (DebertaV2ForSequenceClassification) is not covered by feature and attention losses; covered "
        f"are {', '.join([*COVERED, *WRITERS])}; response losses work with any model"
    )
    with pytest.raises(UserError, match=r"'None' \(Linear\) is not covered"):
        Recorder(nn.Linear(2, 2), [HiddenSite("encoder", 1)], [])


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (HiddenSite("encoder", 9), r"encoder\.hidden\.9: .* has 3 layers.* 0 to 3"),
        (HiddenSite("encoder", -1), r"encoder\.hidden\.-1: .* has 3 layers"),
        (AttentionSite("encoder", "self", 0), r"encoder\.self\.0: .* has 3 layers.* 1 to 3"),
        (AttentionSite("encoder", "self", 4), r"encoder\.self\.4: the encoder of 'bert' \(BertFor\w+\) has 3 layers"),
        (AttentionSite("encoder", "cross", 1), r"encoder\.cross\.1: .* has no cross-attention"),
        (HiddenSite("decoder", 1), r"decoder\.hidden\.1: 'bert' \(\w+\) has no decoder; it has encoder"),
    ],
    ids=str,
)
def test_sites_that_do_not_exist_are_refused(site, message):
    model = build("bert")
    hidden, attention = ([site], []) if isinstance(site, HiddenSite) else ([], [site])
    with pytest.raises(UserError, match=message):
        Recorder(model, hidden, attention)
    assert hooks(model) == 0


def test_a_site_that_receives_nothing_is_an_error():
    model, batch = build("bert"), inputs("bert")
    with record_all(model) as recorder:
        with pytest.raises(RuntimeError, match=r"nothing was recorded at encoder\.hidden\.0"):
            recorder.take()
        model(**batch)
        recorder.take()
        with pytest.raises(RuntimeError, match=r"nothing was recorded at encoder\.hidden\.0"):
            recorder.take()
        model(**batch)  # complete, then replaced by a forward that skips a block
        last = model.bert.encoder.layer[-1]
        model.bert.encoder.layer[-1].forward = lambda hidden, *_, **__: hidden
        model(**batch)
        with pytest.raises(RuntimeError, match=r"nothing was recorded at encoder\.self\.3\.q"):
            recorder.take()
        del last.forward
        model(**batch)
        recorder.take()


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_no_hook_outlives_its_recorder(name):
    model = build(name)
    with record_all(model) as recorder:
        assert hooks(model) > 0
        model(**inputs(name))
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        recorder.take()


def test_a_compiled_model_is_recorded_with_gradients():
    model, batch = build("bert"), inputs("bert")
    embedding, site = model.get_input_embeddings().weight, AttentionSite("encoder", "self", 3)
    with record_all(model) as recorder:
        gradients = []
        for run in (model, torch.compile(model, backend="eager", fullgraph=True)):
            run(**batch)
            captured = recorder.take()
            loss = scores(captured.attention[site]).square().mean() + captured.hidden[HiddenSite("encoder", 3)].mean()
            gradients.append(torch.autograd.grad(loss, embedding)[0])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("name", ["bert", "llama", "bart", "t5"])
def test_gradient_checkpointing_runs_blocks_again_unrecorded(name):
    gradients = []
    for checkpointing in (False, True):
        model, batch = build(name).double(), inputs(name)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        for module in model.modules():  # no dropout, so that both runs see the same numbers
            for attribute in ("p", "dropout", "attention_dropout", "activation_dropout"):
                if isinstance(getattr(module, attribute, None), float):
                    setattr(module, attribute, 0.0)
        with record_all(model) as recorder:
            for _ in range(2):
                model.zero_grad()
                logits = model(**batch).logits
                captured = recorder.take()
                loss = logits.square().mean() + sum(state.square().mean() for state in captured.hidden.values())
                loss = loss + sum(scores(p).square().mean() for p in captured.attention.values())
                loss.backward()
                with pytest.raises(RuntimeError, match="nothing was recorded"):
                    recorder.take()  # what ran in backward is no forward
        gradients.append({key: value.grad for key, value in model.named_parameters() if value.grad is not None})
    torch.testing.assert_close(gradients[1], gradients[0])


def test_reentrant_checkpointing_which_cuts_gradients_is_an_error():
    model = build("bert").train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with record_all(model) as recorder:
        model(**inputs("bert"))
        with pytest.raises(RuntimeError, match=r"encoder\.self\.1\.q: .*reentrant"):
            recorder.take()


def test_a_teacher_in_inference_mode_is_recorded():
    model, batch = build("llama"), inputs("llama")
    with record_all(model) as recorder:
        with torch.inference_mode():
            model(**batch)
        captured = recorder.take()  # outside of inference mode, where the student's are taken
    s_BHQK = scores(captured.attention[AttentionSite("decoder", "self", 1)])
    assert s_BHQK.isfinite().all()
    assert not s_BHQK.requires_grad


class Container(nn.Module):
    """As DDP holds its model."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **batch: torch.Tensor) -> Any:
        return self.module(**batch)


def test_a_wrapped_model_is_recorded_as_itself():
    model, batch = build("bert"), inputs("bert")
    wrapped = Container(Container(model))
    assert layout(wrapped) == layout(model)
    with torch.no_grad(), record_all(wrapped) as outer, record_all(model) as inner:
        wrapped(**batch)
        site = HiddenSite("encoder", 3)
        assert torch.equal(outer.take().hidden[site], inner.take().hidden[site])


def test_names_of_sites():
    assert str(HiddenSite("encoder", 3)) == "encoder.hidden.3"
    assert str(AttentionSite("decoder", "cross", 1)) == "decoder.cross.1"
    assert sorted({AttentionSite("encoder", "self", 2), AttentionSite("encoder", "self", 1)})[0].layer == 1
