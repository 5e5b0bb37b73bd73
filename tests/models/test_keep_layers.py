"""`model.keep_layers`: a student that starts as some blocks of its teacher, and stays that through save and resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from support import forge, merged, only_run, write_config

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.layout import find
from forge.models.load import as_saved, keep_blocks, load_classifier, peek
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.tasks.labels import LabelPlan
from forge.train.loop import Trainer

NAMES = ["cold", "warm"]
ROWS = [{"text": f"{NAMES[i % 2]} {word}", "label": NAMES[i % 2]} for i, word in enumerate(["red", "old", "new"] * 8)]
TOKENIZER = build_tokenizer([row["text"] for row in ROWS], 40)
KEEP, NEW = LabelPlan(NAMES, keep_head=True), LabelPlan(NAMES, keep_head=False)
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
WIDE = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 16,
    "max_position_embeddings": 34,
    "pad_token_id": 0,
    **LABELS,
}
BART = {
    "vocab_size": len(TOKENIZER),
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "eos_token_id": 3,
    **LABELS,
}
DISTILBERT = {
    "vocab_size": len(TOKENIZER),
    "dim": 16,
    "n_layers": 4,
    "n_heads": 4,
    "hidden_dim": 16,
    "max_position_embeddings": 34,
    "pad_token_id": 0,
    **LABELS,
}
ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "bert": (hf.BertForSequenceClassification, hf.BertConfig(**WIDE)),
    "distilbert": (hf.DistilBertForSequenceClassification, hf.DistilBertConfig(**DISTILBERT)),
    "roberta": (hf.RobertaForSequenceClassification, hf.RobertaConfig(**WIDE)),
    "llama": (hf.LlamaForSequenceClassification, hf.LlamaConfig(**WIDE, num_key_value_heads=2)),
}
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(autouse=True)
def _no_reports(monkeypatch):
    """Drawing a report takes longer than these runs."""
    monkeypatch.setattr("forge.assemble.write_report", lambda *_: None)


@pytest.fixture
def put(tmp_path):
    """put(model class, config) → a model directory with a tokenizer."""

    def _put(model_class: Any, config: Any) -> Asset:
        folder = tmp_path / "whole"
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
        return Asset(str(folder), "path", str(folder))

    return _put


def load(asset: Asset, plan: LabelPlan = KEEP, **settings: Any) -> hf.PreTrainedModel:
    return load_classifier(asset, Model(name=asset.location, **settings), plan, TOKENIZER, seed=1).eval()


def blocks(model: Any) -> torch.nn.ModuleList:
    (stack,) = find(model).values()
    return stack.blocks


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def logits(model: Any) -> torch.Tensor:
    ids_BL = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids_BL, attention_mask=(ids_BL != 0).long()).logits
    return found


@every_architecture
@pytest.mark.parametrize("chosen", [[2, 4], [4, 2], [3]])
def test_the_blocks_are_those_and_all_else_is_untouched(put, name, chosen):
    asset = put(*ARCHITECTURES[name])
    whole, part = load(asset), load(asset, keep_layers=chosen)
    assert part.config.num_hidden_layers == len(blocks(part)) == len(chosen)
    for mine, number in zip(blocks(part), chosen, strict=True):
        assert same(mine.state_dict(), blocks(whole)[number - 1].state_dict())
    (stack,) = find(whole).values()
    kept = [key for key in whole.state_dict() if f".{stack.plan.blocks}." not in key]
    assert len(kept) < len(whole.state_dict())
    assert any("embed" in key for key in kept)
    assert any("classifier" in key or "score" in key for key in kept), "the trained head stays"
    for key in kept:
        assert torch.equal(part.state_dict()[key], whole.state_dict()[key]), key


@every_architecture
def test_what_it_computes_is_the_whole_model_without_the_other_blocks(put, name):
    """The reference knows nothing of the code: the whole model with the other blocks replaced by the identity."""
    asset = put(*ARCHITECTURES[name])
    part, whole = load(asset, keep_layers=[2, 4]), load(asset)

    class Skipped(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, *_: Any, **__: Any) -> Any:
            return hidden

    inside = blocks(whole)
    inside[0], inside[2] = Skipped(), Skipped()
    assert torch.equal(logits(part), logits(whole))
    assert not torch.equal(logits(part), logits(load(asset)))
    assert torch.equal(logits(load(asset, keep_layers=[1, 2, 3, 4])), logits(load(asset)))


@every_architecture
def test_saved_and_loaded_again_it_is_the_same(put, name, tmp_path):
    part = load(put(*ARCHITECTURES[name]), keep_layers=[2, 4])
    part.save_pretrained(tmp_path / "part")
    plain, report = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "part", output_loading_info=True)
    assert not any(report.values()), report
    assert same(plain.state_dict(), part.state_dict())
    assert torch.equal(logits(plain.eval()), logits(part))
    # A run that goes on asks for the blocks of its own checkpoint, not for those of the model it began with.
    settings = as_saved(Model(name="x", keep_layers=[2, 4]))
    asset = Asset("x", "path", str(tmp_path / "part"))
    assert same(load_classifier(asset, settings, KEEP, TOKENIZER, seed=1).state_dict(), part.state_dict())


@every_architecture
def test_without_pretrained_weights_it_is_an_architecture(put, name):
    asset = put(*ARCHITECTURES[name])
    drawn = load(asset, NEW, init="random", keep_layers=[2, 4])
    assert drawn.config.num_hidden_layers == len(blocks(drawn)) == 2
    assert same(drawn.state_dict(), load(asset, NEW, init="random", keep_layers=[2, 4]).state_dict())
    stored = blocks(load(asset, keep_layers=[2, 4]))
    for mine, its in zip(blocks(drawn).parameters(), stored.parameters(), strict=True):
        assert mine.shape == its.shape
        assert mine.dim() == 1 or not torch.equal(mine, its)
    assert logits(drawn).isfinite().all()


def test_a_new_head_is_drawn_as_for_the_whole_model(put):
    asset = put(*ARCHITECTURES["bert"])
    whole, part = load(asset, NEW), load(asset, NEW, keep_layers=[4])
    assert torch.equal(whole.classifier.weight, part.classifier.weight)
    assert not torch.equal(part.classifier.weight, load(asset).classifier.weight)


def test_a_decoder_numbers_its_attentions_anew_so_that_its_cache_is_right(put):
    """A block that kept its old number would write past the cache of a model of two layers, or into another's."""
    part = load(put(*ARCHITECTURES["llama"]), keep_layers=[4, 2])
    assert [block.self_attn.layer_idx for block in blocks(part)] == [0, 1]
    ids_BL = torch.tensor([[2, 7, 9, 8, 7, 3]])
    with torch.inference_mode():
        at_once = part.model(input_ids=ids_BL, use_cache=False).last_hidden_state
        cache = hf.DynamicCache(config=part.config)
        steps = [
            part.model(input_ids=ids_BL[:, i : i + 1], past_key_values=cache, use_cache=True).last_hidden_state
            for i in range(ids_BL.shape[1])
        ]
    torch.testing.assert_close(torch.cat(steps, dim=1), at_once, atol=1e-5, rtol=0)
    assert len(cache) == 2
    assert cache.get_seq_length() == ids_BL.shape[1]


def test_a_decoder_with_unlike_layers_keeps_the_kinds_of_those_it_keeps(put):
    config = hf.Qwen2Config(**WIDE, num_key_value_heads=2, use_sliding_window=True, sliding_window=2,
                            max_window_layers=2)  # fmt: skip
    whole = put(hf.Qwen2ForSequenceClassification, config)
    kinds = peek(whole, Model(name="x")).layer_types
    assert len(set(kinds)) == 2
    part = load(whole, keep_layers=[4, 1])
    assert part.config.layer_types == [kinds[3], kinds[0]]
    assert logits(part).isfinite().all()


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        ([2, 5], "model.keep_layers: asks for layer 5 of a model that has 4"),
        ([2, 2], "model.keep_layers names a layer twice"),
    ],
)
def test_layers_that_cannot_be_kept(put, chosen, line):
    with pytest.raises(UserError) as caught:
        keep_blocks(load(put(*ARCHITECTURES["bert"])), chosen)
    assert str(caught.value) == line


def test_two_stacks_are_refused(put):
    asset = put(hf.BartForSequenceClassification, hf.BartConfig(**BART))
    with pytest.raises(UserError, match=r"^model\.keep_layers: .* encoder and its decoder"):
        load(asset, keep_layers=[1])


def test_an_architecture_that_is_not_known_is_refused(put):
    config = hf.GPT2Config(vocab_size=len(TOKENIZER), n_embd=8, n_layer=2, n_head=2, pad_token_id=0, **LABELS)
    asset = put(hf.GPT2ForSequenceClassification, config)
    with pytest.raises(UserError) as caught:
        load(asset, keep_layers=[1])
    assert str(caught.value).startswith("model.keep_layers: the blocks of GPT2ForSequenceClassification are not known")
    assert "\n" not in str(caught.value)


def test_a_stand_in_with_fewer_layers_keeps_all_and_one_with_enough_does_not():
    for name, stand_in, chosen, depth in (
        ("embedded/tiny-bert", True, [2, 4], 2),
        ("embedded/tiny-bert", True, [2], 1),
        ("embedded/tiny-bert", False, [2], 1),
        ("embedded/tiny-distilbert", True, [1, 2, 3], 2),
    ):
        asset = Asset("org/model", "embedded", name, stand_in=stand_in)
        assert len(blocks(load(asset, NEW, keep_layers=chosen))) == depth
    with pytest.raises(UserError, match="asks for layer 4 of a model that has 2"):
        load(Asset("embedded/tiny-bert", "embedded", "embedded/tiny-bert"), NEW, keep_layers=[2, 4])


def config(folder: Path, change: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "dev"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    base = {
        "data": {
            "name": None,
            "test": None,
            "train": str(folder / "train.jsonl"),
            "validation": str(folder / "dev.jsonl"),
            "max_length": 12,
        },
        "train": {"max_steps": 4, "batch_size": 8, "micro_batch_size": 4, "learning_rate": 1e-3},
        "evaluate": {"every": None},
        "checkpoint": {"every": 2},
    }
    return write_config(folder, merged(base, change))


class CutError(Exception):
    """The power fails."""


def test_a_run_with_kept_layers_continues_and_can_be_asked(put, tmp_path, monkeypatch, capsys):
    whole = put(*ARCHITECTURES["bert"])
    change = {"model": {"name": whole.location, "keep_layers": [2, 4], "dropout": 0.1}}
    assert forge("--config", config(tmp_path / "calm", change)) == 0
    stormy = config(tmp_path / "stormy", change)
    save = Trainer._save

    def cut(trainer: Trainer, best: bool) -> None:
        save(trainer, best)
        if trainer.state.step == 2:
            raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", cut)
        assert forge("--config", stormy) == 1
    assert forge("--config", stormy) == 0
    calm, storm = only_run(tmp_path / "calm"), only_run(tmp_path / "stormy")
    assert "training continues after step 2 of 4" in (storm / "output.log").read_text()
    ends = [run / "checkpoint-4/model.safetensors" for run in (calm, storm)]
    assert ends[0].read_bytes() == ends[1].read_bytes()
    assert {key.split(".")[3] for key in load_file(ends[0]) if "encoder.layer" in key} == {"0", "1"}
    capsys.readouterr()
    assert forge("predict", "--run", calm, "cold red") == 0
    assert json.loads(capsys.readouterr().out)["label"] in NAMES


def test_a_student_cut_from_a_trained_run_keeps_its_head(put, tmp_path):
    assert forge("--config", config(tmp_path / "teacher", {"model": {"name": "embedded/tiny-bert"}})) == 0
    teacher = only_run(tmp_path / "teacher")
    change = {"model": {"name": str(teacher), "keep_layers": [2]}, "train": {"max_steps": 1, "learning_rate": 1e-9}}
    assert forge("--config", config(tmp_path / "student", change)) == 0
    best = json.loads((teacher / "training_state.json").read_text())["best"]["step"]
    source = load_file(teacher / f"checkpoint-{best}/model.safetensors")
    student = load_file(only_run(tmp_path / "student") / "checkpoint-1/model.safetensors")
    torch.testing.assert_close(student["classifier.weight"], source["classifier.weight"], atol=1e-6, rtol=0)
    block = "bert.encoder.layer.{}.output.dense.weight"
    torch.testing.assert_close(student[block.format(0)], source[block.format(1)], atol=1e-6, rtol=0)
    assert not any(".layer.1." in key for key in student)
