"""The page reader: its shape, what saving keeps, what one page owes to the others, writing, and its head."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForImageTextToText, VisionEncoderDecoderModel

from forge.models.generate import Decoding, write, write_several
from forge.models.head import find_head
from forge.models.identity import architecture_of
from forge.models.layout import layout
from forge.models.load import set_dropout
from forge.models.page_encoder import BandNorm, PageEncoder, PageEncoderConfig, _Banded, positions
from forge.models.reader import EMBEDDED_READERS, Characters, build_reader, build_reader_config

CHARACTERS = Characters(90)
SIZE = (32, 64)
SAVED_AND_READ = """
import sys, torch
import forge.models.page_encoder
from transformers import AutoModelForImageTextToText
torch.set_num_threads(1)
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1]).eval()
from safetensors.torch import load_file, save_file
batch = load_file(sys.argv[2])
with torch.no_grad():
    save_file({"logits": model(**batch).logits}, sys.argv[3])
"""


def pages(count: int = 3, size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(seed))


def batch_of(count: int = 3, length: int = 7) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, CHARACTERS.count, (count, length), generator=torch.Generator().manual_seed(1))
    return {"pixel_values": pages(count), "decoder_input_ids": ids}


@pytest.fixture(scope="module")
def reader() -> Any:
    return build_reader("embedded/tiny-reader", CHARACTERS, seed=0, max_length=64).eval()


@pytest.mark.parametrize(
    ("name", "millions"),
    [("embedded/tiny-reader", 1.0), ("embedded/small-reader", 2.8), ("embedded/mini-reader", 0.55)],
)
def test_readers_have_the_stated_size(name: str, millions: float) -> None:
    model = build_reader(name, CHARACTERS, seed=0)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.05)
    assert isinstance(model, VisionEncoderDecoderModel)
    again = build_reader(name, CHARACTERS, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    other = build_reader(name, CHARACTERS, seed=1)
    assert not torch.equal(other.encoder.blocks[0].narrow.weight, model.encoder.blocks[0].narrow.weight)


def test_teacher_and_student_look_at_the_same_cells_with_as_many_heads() -> None:
    stacks = [layout(build_reader(name, CHARACTERS, seed=0)) for name in EMBEDDED_READERS]
    assert {stack["decoder"].heads for stack in stacks} == {4}
    assert {stack["encoder"].kinds for stack in stacks} == {()}
    assert {name: stack["encoder"].width for name, stack in zip(EMBEDDED_READERS, stacks, strict=True)} == {
        "embedded/small-reader": 192,
        "embedded/tiny-reader": 128,
        "embedded/mini-reader": 96,
    }


def test_dropout_is_set_in_both_halves() -> None:
    config = build_reader_config("embedded/tiny-reader", CHARACTERS)
    set_dropout(config, 0.25)
    assert (config.decoder.dropout, config.decoder.attention_dropout) == (0.25, 0.25)
    assert build_reader_config("embedded/tiny-reader", CHARACTERS).decoder.dropout == 0.0


def test_an_unknown_reader_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of embedded/small-reader, embedded/tiny-reader"):
        build_reader_config("embedded/huge-reader", CHARACTERS)


@pytest.mark.parametrize("size", [(16, 16), (32, 224), (160, 256)])
def test_a_state_for_each_cell_row_by_row(size: tuple[int, int]) -> None:
    encoder = PageEncoder(PageEncoderConfig(hidden_size=32)).eval()
    cells = (size[0] // 16) * (size[1] // 8)
    outputs = encoder(pages(2, size), output_hidden_states=True)
    assert outputs.last_hidden_state.shape == (2, cells, 32)
    assert [state.shape for state in outputs.hidden_states] == [(2, cells, 32)] * 4
    assert torch.equal(encoder(pages(2, size), return_dict=False)[0], outputs.last_hidden_state)


def test_texts_are_written_of_pages_that_are_encoded_a_few_at_a_time(reader: Any) -> None:
    seen: list[int] = []
    hook = reader.encoder.stem.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    written = write(reader, {"pixel_values": pages(10)}, Decoding(1, 20))
    assert seen == [4, 4, 2]
    whole = reader.generate(pixel_values=pages(10), max_new_tokens=20, max_length=None, do_sample=False)
    hook.remove()
    assert seen[3:] == [10]
    for ids, row in zip(written, whole.tolist(), strict=True):
        assert ids == row[1 : len(ids) + 1]


def test_what_is_drawn_in_a_cell_changes_the_states_there_most() -> None:
    torch.manual_seed(0)
    encoder = PageEncoder(PageEncoderConfig()).eval()
    page = pages(1, (96, 160))
    marked = page.clone()
    marked[:, :, 3 * 16 + 4 : 3 * 16 + 12, 11 * 8 + 2 : 11 * 8 + 6] = 0.0
    with torch.no_grad():
        change_L = (encoder(marked).last_hidden_state - encoder(page).last_hidden_state).norm(dim=-1)[0]
    row, column = divmod(int(change_L.argmax()), 20)
    assert abs(row - 3) <= 1
    assert abs(column - 11) <= 1


@pytest.mark.parametrize("size", [(31, 64), (32, 60)])
def test_a_page_of_broken_cells_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not made of whole cells"):
        PageEncoder(PageEncoderConfig(hidden_size=32))(pages(1, size))


def test_positions_tell_rows_from_columns() -> None:
    places_LD = positions(3, 5, 16)
    assert places_LD.shape == (15, 16)
    assert torch.equal(places_LD[5:10, :8], places_LD[5, :8].expand(5, -1))  # one row
    assert torch.equal(places_LD[1::5, 8:], places_LD[1, 8:].expand(3, -1))  # one column
    assert len(places_LD.unique(dim=0)) == 15
    assert places_LD[0].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 4 + [1.0] * 4
    assert places_LD[5, 0] == torch.tensor(1.0).sin()
    assert places_LD[2, 9] == pytest.approx(torch.tensor(2.0 * 10_000 ** (-2 / 8)).sin().item())


@pytest.mark.parametrize("training", [True, False])
def test_a_page_is_read_the_same_whatever_is_beside_it(training: bool, reader: Any) -> None:
    """So steps are the same however they are cut into micro-batches and dealt to processes."""
    reader.train(training)
    batch = batch_of(4)
    with torch.no_grad():
        together = reader(**batch).logits
        alone = torch.cat([reader(**{k: v[i : i + 1] for k, v in batch.items()}).logits for i in range(4)])
    reader.eval()
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not list(reader.encoder.buffers())  # nothing is remembered from step to step


def test_gain_and_offset_of_grey_levels_hardly_matter() -> None:
    encoder = PageEncoder(PageEncoderConfig()).eval()
    page = pages(1, (64, 128))
    with torch.no_grad():
        plain, faint = encoder(page).last_hidden_state, encoder(0.3 + 0.4 * page).last_hidden_state
    assert (plain - faint).norm() < 0.1 * plain.norm()


def test_what_is_far_below_changes_little() -> None:
    """How long a page goes on empty changes nothing, and what else stands there little: statistics are of a band."""
    encoder = PageEncoder(PageEncoderConfig()).eval()
    page = pages(1, (64, 128))
    cells = (64 // 16) * (128 // 8)
    with torch.no_grad():
        states = [
            encoder(torch.cat([page, below], dim=2)).last_hidden_state[:, : cells // 2]
            for below in (torch.ones(1, 1, 256, 128), torch.ones(1, 1, 512, 128), pages(1, (256, 128), 1))
        ]
    assert torch.allclose(states[0], states[1], atol=1e-5)
    change = (states[2] - states[0]).norm() / states[0].norm()
    assert change < 0.3


def test_a_band_has_mean_zero_and_variance_one() -> None:
    norm = BandNorm(4, 16)
    assert norm.reach == 1
    states = 3.0 + 2.0 * torch.randn(2, 4, 5, 40, generator=torch.Generator().manual_seed(0))
    found = norm(states)
    for row in range(5):
        band = states[:, :, max(0, row - 1) : row + 2].flatten(2)
        expected = (states[:, :, row] - band.mean(-1, keepdim=True)) / band.var(-1, unbiased=False, keepdim=True).sqrt()
        if row in {0, 4}:  # a band at the edge is as wide as there are rows
            assert band.shape[-1] == 80
        torch.testing.assert_close(found[:, :, row], expected, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_a_band_is_that_of_its_definition_however_often_it_is_asked_for() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 7, 5, 3, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def banded(*of: torch.Tensor) -> torch.Tensor:
        return _Banded.apply(*of, 2)

    assert torch.autograd.gradcheck(banded, (x, weight, bias))
    y = banded(x, weight, bias).square().sum()
    first, second = (torch.autograd.grad(y, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_band_of_halves_is_that_of_the_same_numbers_in_full() -> None:
    """Faint marks on a bright, even ground, where a variance taken of halves is mostly rounding."""
    torch.manual_seed(0)
    norm = BandNorm(4, 16)
    states = (3.0 + 0.1 * torch.randn(2, 4, 5, 40)).bfloat16()
    half, full = states.clone().requires_grad_(), states.float().requires_grad_()
    toward = torch.randn(2, 4, 5, 40)
    in_half, in_full = norm(half), norm(full)
    assert in_half.dtype == torch.bfloat16
    torch.testing.assert_close(in_half.float(), in_full, rtol=2**-8, atol=1e-6)
    found, expected = (
        torch.autograd.grad(y, x, toward.to(y.dtype))[0].float() for y, x in ((in_half, half), (in_full, full))
    )
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_the_channels_of_a_pixel_lie_together() -> None:
    """Else the encoder computes the same and takes longer."""
    encoder = PageEncoder(PageEncoderConfig(hidden_size=32))
    seen = []
    for part in (*encoder.stem, *encoder.blocks):
        part.register_forward_hook(lambda *of: seen.append(of[-1]))
    for kind in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", kind, enabled=kind == torch.bfloat16):
            encoder(pages(2))
    assert len(seen) == 12
    assert all(states.is_contiguous(memory_format=torch.channels_last) for states in seen)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_it_runs_in_the_type_that_it_was_loaded_in(kind: torch.dtype) -> None:
    encoder = PageEncoder(PageEncoderConfig(hidden_size=32)).eval()
    with torch.no_grad():
        full = encoder(pages(2)).last_hidden_state
        states = encoder.to(kind)(pages(2).to(kind)).last_hidden_state
    assert states.dtype == kind
    assert (states.float() - full).norm() < 0.05 * full.norm()


def test_a_blank_page_is_finite_and_has_finite_gradients() -> None:
    encoder = PageEncoder(PageEncoderConfig()).train()
    encoder(torch.ones(2, 1, *SIZE)).last_hidden_state.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_a_saved_reader_reads_the_same_bit_by_bit_in_another_process(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = build_reader("embedded/tiny-reader", CHARACTERS, seed=3, max_length=64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "model", state_dict=model.state_dict())
    batch = batch_of()
    save_file(batch, tmp_path / "batch")
    arguments = [str(tmp_path / name) for name in ("model", "batch", "logits")]
    subprocess.run([sys.executable, "-c", SAVED_AND_READ, *arguments], check=True, capture_output=True)
    with torch.no_grad():
        assert torch.equal(load_file(tmp_path / "logits")["logits"], model(**batch).logits)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert {k: v.sum() for k, v in loaded.state_dict().items()} == {k: v.sum() for k, v in model.state_dict().items()}
    assert loaded.decoder.get_output_embeddings().weight is loaded.decoder.get_input_embeddings().weight
    encoder = AutoModel.from_config(loaded.config.encoder)
    assert isinstance(encoder, PageEncoder)


def test_its_architecture_needs_no_memory() -> None:
    config = build_reader_config("embedded/small-reader", CHARACTERS)
    model = architecture_of(AutoModelForImageTextToText, config, trust_remote_code=False)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert layout(model)["decoder"].depth == 3


@pytest.mark.parametrize("beams", [1, 3])
def test_writing_with_the_cache_is_writing_without(reader: Any, beams: int) -> None:
    loud = build_reader("embedded/tiny-reader", CHARACTERS, seed=5, max_length=64).eval()
    with torch.no_grad():
        for parameter in loud.parameters():
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    batch = {"pixel_values": pages(3), "attention_mask": torch.ones(3, 16, dtype=torch.long)}
    texts = write(loud, batch, Decoding(beams=beams, max_length=12))
    assert [len(text) for text in texts] == [12, 12, 12] or any(CHARACTERS.end in text for text in texts)
    loud.generation_config.use_cache = False
    assert write(loud, batch, Decoding(beams=beams, max_length=12)) == texts
    several = write_several(loud, batch, Decoding(beams=3, max_length=6), kept=2)
    assert [len(best) for best in several] == [2, 2, 2]
    if beams == 1:
        assert texts[0] == greedy(loud, batch["pixel_values"][:1], 12)


def greedy(model: Any, page: torch.Tensor, length: int) -> list[int]:
    ids = [CHARACTERS.start]
    for _ in range(length):
        with torch.no_grad():
            logits = model(pixel_values=page, decoder_input_ids=torch.tensor([ids])).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == CHARACTERS.end:
            break
    return ids[1:]


def test_its_head_is_found_and_makes_its_logits(reader: Any) -> None:
    head = find_head(reader)
    assert head is not None
    assert head.weight is reader.decoder.output_projection.weight
    batch = batch_of()
    with torch.no_grad(), head.held_back() as seen:
        first = reader(**batch).logits
        assert first.shape[1] == 1
    torch.testing.assert_close(torch.nn.functional.linear(seen[0], head.weight), reader(**batch).logits)


def test_the_head_of_a_reader_with_a_vision_transformer_is_found() -> None:
    import transformers as hf

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = hf.ViTConfig(**shape, image_size=(32, 48), patch_size=16)
    decoder = build_reader_config("embedded/tiny-reader", CHARACTERS).decoder.to_dict()
    config = hf.VisionEncoderDecoderConfig(
        encoder=encoder.to_dict(), decoder=decoder | {"cross_attention_hidden_size": 32}
    )
    assert find_head(VisionEncoderDecoderModel(config)) is not None
