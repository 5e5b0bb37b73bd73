"""Hidden states of tiny models of every kind, pooled, written and read again."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.numpy import load_file
from toy_vision_models import ALL, DECODERS, make

from forge.building.page_model import load_page_model, page_task
from forge.config.schema import Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.image_text import peek_reader
from forge.models.page_encoder import PageEncoderConfig
from forge.tasks.base import IGNORED_LABEL
from forge.tasks.ocr.pictures import Pictured
from forge.workbench.cka import biased_cka, debiased_cka
from forge.workbench.representations import extract, pool
from forge.workbench.row_files import Representations, StackWriter, align
from forge.workbench.stacks import Observed, Rows

WORDS = 40
BERT = hf.BertConfig(
    vocab_size=WORDS, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, pad_token_id=0
)
BART = {
    "vocab_size": WORDS, "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 32,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
LLAMA = hf.LlamaConfig(
    vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, pad_token_id=0
)


def build(model_class: Any, config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = model_class(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def texts(count: int = 6, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[2, *rng.integers(5, WORDS, rng.integers(1, 9)).tolist(), 3] for _ in range(count)]


def encoder_batch(rows: list[list[int]], padding: int = 0, left: bool = False) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    filled = [
        [padding] * (longest - len(row)) + row if left else row + [padding] * (longest - len(row)) for row in rows
    ]
    ids = torch.tensor(filled)
    lengths = torch.tensor([len(row) for row in rows])[:, None]
    places = torch.arange(longest)[None]
    mask = places >= longest - lengths if left else places < lengths
    return {"input_ids": ids, "attention_mask": mask.long()}


def seq2seq_batch(rows: list[list[int]], targets: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, targets))
    batch = encoder_batch(rows, padding=1)
    labels = torch.tensor([row + [IGNORED_LABEL] * (longest - len(row)) for row in targets])
    read = torch.tensor([[2, *row[:-1]] + [1] * (longest - len(row)) for row in targets])
    return batch | {"labels": labels, "decoder_input_ids": read}


def records(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": f"example {number}", "label": number % 3} for number in numbers]


def in_batches(rows: list[list[int]], size: int, left: bool = False) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield records(*range(start, start + len(part))), encoder_batch(part, left=left)


def by_hand(model: Any, row: list[int]) -> list[torch.Tensor]:
    """hidden_states_LD of one text without padding."""
    with torch.no_grad():
        states = model.eval()(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
    return [state[0] for state in states]


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_every_layer_of_an_encoder_is_that_of_each_text_alone(tmp_path: Path, pooling: Any) -> None:
    model, rows = build(hf.BertForSequenceClassification, BERT), texts()
    model.train()
    found = extract(model, in_batches(rows, 4), tmp_path, pooling=pooling, about={"run": "a"})["encoder"]
    assert model.training
    assert found.layers == ("layer.0", "layer.1", "layer.2", "layer.3")
    assert found.records == records(*range(6))
    assert (found.about["pooling"], found.about["run"], found.about["rows"]) == (pooling, "a", "6")
    for number, row in enumerate(rows):
        for layer, state in enumerate(by_hand(model, row)):
            expected = state.mean(0) if pooling == "mean" else state[0]
            np.testing.assert_allclose(found.features(f"layer.{layer}")[number], expected, atol=2e-6)


def test_a_row_for_each_token_without_special_ones(tmp_path: Path) -> None:
    model, rows = build(hf.BertModel, BERT), texts()
    found = extract(model, in_batches(rows, 4), tmp_path, pooling="tokens", leave_out=[2, 3])["encoder"]
    assert len(found.records) == sum(len(row) - 2 for row in rows)
    assert found.records[0] == {"id": "example 0", "label": 0, "position": 1}
    expected = torch.cat([by_hand(model, row)[2][1:-1] for row in rows])
    np.testing.assert_allclose(found.features("layer.2"), expected, atol=2e-6)


def test_anyone_can_read_the_files(tmp_path: Path) -> None:
    found = extract(build(hf.BertModel, BERT), in_batches(texts(), 4), tmp_path)["encoder"]
    tensors = load_file(tmp_path / "encoder.safetensors")
    assert tensors.keys() == set(found.layers)
    assert all(value.dtype == np.float32 and value.shape == (6, 16) for value in tensors.values())
    assert np.array_equal(tensors["layer.1"], found.features("layer.1"))
    lines = [json.loads(line) for line in (tmp_path / "encoder.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [f"example {number}" for number in range(6)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.jsonl", "encoder.safetensors"]
    again = Representations.open(tmp_path, "encoder")
    assert all(np.array_equal(value, tensors[name]) for name, value in again.all_features().items())


def test_padding_on_the_left(tmp_path: Path) -> None:
    model, rows = build(hf.LlamaForCausalLM, LLAMA), texts()
    ends = {}
    for pooling in ("mean", "first"):
        for left in (False, True):
            folder = tmp_path / f"{pooling}{left}"
            ends[pooling, left] = extract(model, in_batches(rows, 3, left), folder, pooling=pooling)[
                "decoder"
            ].features("layer.2")
        np.testing.assert_allclose(ends[pooling, False], ends[pooling, True], atol=1e-5)


@pytest.mark.parametrize("name", ["BartForConditionalGeneration", "M2M100ForConditionalGeneration"])
def test_both_sides_of_an_encoder_decoder(tmp_path: Path, name: str) -> None:
    """BART is known to the hooks; M2M100 is asked for its hidden states."""
    model_class = getattr(hf, name)
    model = build(model_class, model_class.config_class(**BART))
    rows, targets = texts(4), [row[1:] for row in texts(4, seed=1)]
    found = extract(model, [(records(0, 1, 2, 3), seq2seq_batch(rows, targets))], tmp_path)
    assert found.keys() == {"encoder", "decoder"}
    assert (len(found["encoder"].layers), len(found["decoder"].layers)) == (3, 2)
    for number, (row, target) in enumerate(zip(rows, targets, strict=True)):
        with torch.no_grad():
            out = model.eval()(
                input_ids=torch.tensor([row]),
                decoder_input_ids=torch.tensor([[2, *target[:-1]]]),
                output_hidden_states=True,
            )
        for stack, states in (("encoder", out.encoder_hidden_states), ("decoder", out.decoder_hidden_states)):
            for layer, state in enumerate(states):
                got = found[stack].features(f"layer.{layer}")[number]
                np.testing.assert_allclose(got, state[0].mean(0), atol=1e-5)


def test_an_embedded_page_reader(tmp_path: Path) -> None:
    config = hf.VisionEncoderDecoderConfig(
        encoder=PageEncoderConfig(hidden_size=16, num_hidden_layers=2).to_dict(),
        decoder=hf.TrOCRConfig(
            vocab_size=WORDS, d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=16,
            max_position_embeddings=32, cross_attention_hidden_size=16, pad_token_id=0, is_decoder=True,
        ).to_dict(),
        pad_token_id=0,
        decoder_start_token_id=1,
    )  # fmt: skip
    model = build(hf.VisionEncoderDecoderModel, config)
    batch = seq2seq_batch(texts(3), [row[1:] for row in texts(3)])
    pages = torch.rand(3, 1, 32, 24, generator=torch.Generator().manual_seed(0))
    batch = {"pixel_values": pages, "labels": batch["labels"], "decoder_input_ids": batch["decoder_input_ids"]}
    found = extract(model, [(records(0, 1, 2), batch)], tmp_path, pooling="tokens")
    assert len(found["encoder"].records) == 3 * (2 * 3)  # cells of 16 by 8
    assert len(found["decoder"].records) == int((batch["labels"] != IGNORED_LABEL).sum())
    with torch.no_grad():
        states = model.eval().encoder(pixel_values=pages, output_hidden_states=True).hidden_states
    for layer, state in enumerate(states):
        np.testing.assert_allclose(found["encoder"].features(f"layer.{layer}"), state.flatten(0, 1), atol=1e-5)


PAGES = [
    Pictured(np.random.default_rng(0).integers(1, 255, (40, 90), dtype=np.uint8), "# Title"),
    Pictured(np.random.default_rng(1).integers(1, 255, (70, 50, 3), dtype=np.uint8), "A longer text,\n\n- *items*"),
    Pictured(np.random.default_rng(2).integers(1, 255, (60, 60), dtype=np.uint8), "Third"),
]


@lru_cache
def reader(kind: str) -> tuple[Any, Any]:
    """A tiny model of a real class, and what makes batches for it."""
    folder = make(kind, Path(mkdtemp()) / kind)
    data = {"name": "embedded/pages", "max_target_length": 64, "pages": {"prompt": "Read."}}
    chosen = Settings.model_validate(
        {"task": "ocr", "model": {"name": str(folder)}, "data": data, "generate": {"beams": 1, "max_length": 8}}
    )
    asset = Asset(kind, "path", str(folder))
    config = peek_reader(asset, chosen.model)
    assert config is not None
    model, processor = load_page_model(asset, chosen.model, config, 0)
    return model, page_task(chosen, model, processor).form


def pages_of(kind: str, *numbers: int) -> tuple[Any, Any]:
    form = reader(kind)[1]
    pages = [PAGES[number] for number in numbers]
    return records(*numbers), form.collate(pages, form.encode([page.markdown for page in pages]))


@pytest.mark.parametrize("kind", ALL)
def test_page_models_give_each_page_what_it_gives_alone(tmp_path: Path, kind: str) -> None:
    model = reader(kind)[0]
    together = extract(model, [pages_of(kind, 0, 1, 2)], tmp_path / "together")
    alone = extract(model, [pages_of(kind, number) for number in range(3)], tmp_path / "alone")
    assert together.keys() == alone.keys() == ({"vision", "decoder"} if kind in DECODERS else {"encoder", "decoder"})
    for stack, found in together.items():
        assert len(found.layers) >= 3
        for layer in found.layers:
            features = found.features(layer)
            assert len(features) == 3
            np.testing.assert_allclose(features, alone[stack].features(layer), atol=2e-4)
            assert np.linalg.norm(features[0] - features[1]) > 1e-3


@pytest.mark.parametrize("kind", DECODERS)
def test_patches_are_counted_as_images_and_not_as_text(tmp_path: Path, kind: str) -> None:
    model = reader(kind)[0]
    batch = pages_of(kind, 0, 1)
    found = extract(model, [batch], tmp_path, pooling="tokens")
    config = model.config
    text = (batch[1]["input_ids"] != config.image_token_id) & batch[1]["attention_mask"].bool()
    assert len(found["decoder"].records) == int(text.sum())
    positions = [record["position"] for record in found["vision"].records if record["id"] == "example 0"]
    assert positions == list(range(len(positions)))
    last = len(found["vision"].layers) - 1
    assert np.isfinite(found["vision"].features(f"layer.{last}")).all()


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm", "qwen2_vl", "qwen2_5_vl", "lighton_ocr"])
def test_a_tower_is_seen_as_transformers_sees_it(kind: str, tmp_path: Path) -> None:
    """The last layer, normed or not, is what the tower itself gives on one page."""
    model = reader(kind)[0]
    batch = pages_of(kind, 0)
    found = extract(model, [batch], tmp_path, pooling="tokens")["vision"]
    given = {name: batch[1][name] for name in ("pixel_values", "image_grid_thw", "image_sizes") if name in batch[1]}
    with torch.no_grad():
        if "image_sizes" in given:
            tower, states = model.base_model.vision_encoder, {"output_hidden_states": True}
            told = tower(given["pixel_values"], image_sizes=given["image_sizes"], **states).hidden_states
        elif "image_grid_thw" in given:
            told = model.base_model.visual(
                given["pixel_values"], grid_thw=given["image_grid_thw"], output_hidden_states=True
            ).hidden_states
        else:
            tower = model.base_model.vision_model
            told = tower(given["pixel_values"].flatten(0, 1), output_hidden_states=True).hidden_states
    assert len(told) == len(found.layers)
    for layer in range(len(told) - 1):
        states_RD = told[layer].reshape(-1, told[layer].shape[-1])
        np.testing.assert_allclose(found.features(f"layer.{layer}"), states_RD, atol=1e-4)


def test_stages_of_an_encoder_have_no_row_for_each_token(tmp_path: Path) -> None:
    """A Swin encoder halves its map from stage to stage."""
    with pytest.raises(UserError, match="its layers differ in their positions"):
        extract(reader("donut")[0], [pages_of("donut", 0)], tmp_path, pooling="tokens")
    assert not list(tmp_path.iterdir())


def test_no_hook_stays_whatever_happens(tmp_path: Path) -> None:
    """torch_cka leaves its hooks, and what they keep asks for gradients."""
    for model, batch in (
        (build(hf.BertModel, BERT), next(in_batches(texts(), 4))),
        (reader("idefics3")[0], pages_of("idefics3", 0)),
    ):

        def hooks(model: Any = model) -> int:
            return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())

        before = hooks()
        with torch.enable_grad():
            extract(model, [batch], tmp_path)
        assert hooks() == before
        broken = {name: value for name, value in batch[1].items() if name != "input_ids"}
        with pytest.raises(Exception, match=r".+"):
            extract(model, [batch, (records(8), broken)], tmp_path / "broken")
        assert hooks() == before
        assert not list((tmp_path / "broken").iterdir())
        with torch.no_grad(), Observed(model) as observed:
            rows = observed.rows(batch[1], len(batch[0]))
            assert hooks() > before
        assert hooks() == before
        assert not any(r.states_RD.requires_grad for layers in rows.values() for r in layers.values())


def test_an_unknown_layer_or_stack_names_those_there_are(tmp_path: Path) -> None:
    model = build(hf.BertModel, BERT)
    found = extract(model, in_batches(texts(), 4), tmp_path)["encoder"]
    with pytest.raises(UserError, match=r"there is no layer\.9; there are layer\.0, layer\.1"):
        found.features("layer.9")
    with pytest.raises(UserError, match="the model has no decoder; it has encoder"):
        extract(model, in_batches(texts(), 4), tmp_path / "b", stacks=["decoder"])
    with pytest.raises(UserError, match="no representations of vision; there are encoder"):
        Representations.open(tmp_path, "vision")


def test_what_has_no_row_is_said(tmp_path: Path) -> None:
    model = build(hf.BertModel, BERT)
    with pytest.raises(UserError, match="example 1 has no token in the encoder that counts"):
        extract(model, [(records(0, 1), encoder_batch([[2, 9, 3], [2, 3]]))], tmp_path, leave_out=[2, 3])
    with pytest.raises(UserError, match="example 0 comes twice"):
        extract(model, [(records(0, 0), encoder_batch([[2, 9, 3], [2, 3]]))], tmp_path)
    with pytest.raises(UserError, match="there are no examples"):
        extract(model, [], tmp_path)
    with pytest.raises(UserError, match="does not say which of the encoder's tokens are padding"):
        extract(model, [(records(0), {"input_ids": torch.tensor([[2, 9, 3]])})], tmp_path)


def test_a_stack_that_cannot_be_read_is_left_out_with_its_reason_where_that_is_asked_for(tmp_path: Path) -> None:
    """Also one that could be read in the first batch: half a stack is none. The others are those of before."""
    model = reader("qwen2_vl")[0]
    first, (told, batch) = pages_of("qwen2_vl", 0, 1), pages_of("qwen2_vl", 2)
    whole = extract(model, [first, (told, batch)], tmp_path / "whole")
    batches = [first, (told, of_two_images(batch))]
    with pytest.raises(UserError, match="2 images in 1 examples; qwen2_vl needs one for each"):
        extract(model, batches, tmp_path / "strict")
    missed: dict[str, str] = {}
    found = extract(model, batches, tmp_path / "lenient", missed=missed)
    assert missed == {"vision": "2 images in 1 examples; qwen2_vl needs one for each"}
    assert list(found) == ["decoder"]
    assert not list((tmp_path / "lenient").glob("*vision*"))
    np.testing.assert_array_equal(found["decoder"].features("layer.2")[:2], whole["decoder"].features("layer.2")[:2])
    bert = build(hf.BertModel, BERT)
    missed = {}
    assert extract(bert, [(records(0), {"input_ids": torch.tensor([[2, 9, 3]])})], tmp_path / "no", missed=missed) == {}
    assert missed == {"encoder": "the batch does not say which of the encoder's tokens are padding"}


def of_two_images(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The only page of a batch, shown twice in one prompt."""
    shape = batch["input_ids"].shape
    longer = {name: torch.cat([values] * 2, 1) for name, values in batch.items() if values.shape == shape}
    return batch | longer | {name: torch.cat([batch[name]] * 2) for name in ("pixel_values", "image_grid_thw")}


def test_rows_of_two_models_are_joined_by_example(tmp_path: Path) -> None:
    rows = texts()
    one = extract(build(hf.BertModel, BERT), in_batches(rows, 4), tmp_path / "a")["encoder"]
    order = [3, 0, 5]
    batch = encoder_batch([rows[number] for number in order])
    other = extract(build(hf.BertModel, BERT), [(records(*order), batch)], tmp_path / "b")["encoder"]
    first, second = align(one, other)
    assert [one.records[n]["id"] for n in first] == ["example 0", "example 3", "example 5"]
    np.testing.assert_allclose(one.features("layer.3")[first], other.features("layer.3")[second], atol=2e-6)
    third = extract(build(hf.BertModel, BERT), [([{"id": "x"}], encoder_batch([[2, 3]]))], tmp_path / "c")["encoder"]
    with pytest.raises(UserError, match="have no row in common"):
        align(one, third)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    extract(build(hf.BertModel, BERT), in_batches(texts(), 4), tmp_path)
    lines = tmp_path / "encoder.jsonl"
    lines.write_text(lines.read_text().replace("example 0", "example 9"))
    with pytest.raises(UserError, match="does not belong to the JSON lines beside it"):
        Representations.open(tmp_path, "encoder")
    (tmp_path / "encoder.safetensors").write_bytes(b"\\0" * 50)
    with pytest.raises(UserError, match="cannot be read"):
        Representations.open(tmp_path, "encoder")


def test_memory_is_that_of_a_batch_and_arrays_are_mapped(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    tracemalloc.start()
    writer = StackWriter(tmp_path, "many", {})
    for _ in range(120):
        writer.add([{"id": "x"}] * 200, {"layer.0": rows, "layer.1": rows})
    whole = writer.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole.stat().st_size / 4
    mapped = Representations.open(tmp_path, "many").features("layer.1")
    assert mapped.shape == (24_000, 64)
    assert np.array_equal(mapped[-200:], rows)
    assert str(tmp_path / "many.safetensors") in Path("/proc/self/maps").read_text()


class TestFalseSimilarity:
    """Hidden states of nets that have nothing in common."""

    def states(self, seed: int, special: bool = False) -> torch.Tensor:
        """600 texts of up to 10 tokens: random states; where there is no text the net's one padding vector."""
        generator = torch.Generator().manual_seed(seed)
        states = torch.randn(600, 10, 32, generator=generator)
        padding = 3 * torch.randn(32, generator=generator)
        states[~self.mask()] = padding
        if special:
            states[:, 0] = 10 * torch.randn(32, generator=generator)
        return states

    def mask(self) -> torch.Tensor:
        lengths = torch.randint(2, 11, (600, 1), generator=torch.Generator().manual_seed(9))
        return torch.arange(10)[None] < lengths

    def pooled(self, states: torch.Tensor, keep: torch.Tensor, pooling: Any = "mean") -> np.ndarray[Any, Any]:
        owner, position = keep.nonzero(as_tuple=True)
        return pool(Rows(owner, position, states[keep]), 600, pooling).numpy()

    def test_rows_of_padding(self) -> None:
        """Kept as rows, 40 % of padding make them alike; the mean over valid tokens does not see it."""
        one, other = self.states(0), self.states(1)
        assert float((~self.mask()).float().mean()) == pytest.approx(0.4, abs=0.05)
        assert debiased_cka(one.flatten(0, 1)[:2000].numpy(), other.flatten(0, 1)[:2000].numpy()) > 0.7
        assert abs(debiased_cka(self.pooled(one, self.mask()), self.pooled(other, self.mask()))) < 0.02

    def test_one_special_token_in_every_text(self) -> None:
        one, other = self.states(0, special=True), self.states(1, special=True)
        mask = self.mask()
        assert debiased_cka(self.pooled(one, mask, "tokens")[:2000], self.pooled(other, mask, "tokens")[:2000]) > 0.5
        inner = mask.clone()
        inner[:, 0] = False
        assert (
            abs(debiased_cka(self.pooled(one, inner, "tokens")[:2000], self.pooled(other, inner, "tokens")[:2000]))
            < 0.02
        )

    def test_the_biased_form_would_call_them_alike_even_so(self) -> None:
        few = slice(60)
        one, other = (self.pooled(self.states(seed), self.mask())[few] for seed in (0, 1))
        assert biased_cka(one, other) > 0.3
        assert abs(debiased_cka(one, other)) < 0.1
