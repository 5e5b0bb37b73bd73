"""A watched search writes what an unwatched one does, knows how likely it was, and ends what would never end."""

from __future__ import annotations

import pytest
import torch
from reader_stub import noise, pictured, stub_reader

from forge.models import generate
from forge.models.generate import Decoding, write, write_watched
from forge.models.search import UnableError
from forge.models.watch import CERTAIN_TOKENS, LOOKED_EVERY, Watch, certain_loop
from forge.tasks.base import forward
from forge.tasks.written import nll


@pytest.fixture
def unable(monkeypatch):
    def search(*_, **__):
        raise UnableError

    monkeypatch.setattr(generate, "search", search)


def varied(count, most=40):
    """A model whose texts differ and end at different lengths, and a batch for it."""
    reading = stub_reader({"": 2.1}, most, is_varied=True).reading
    return reading, reading.task.form.collate(pictured(noise(count)), None)


def test_the_texts_are_those_of_an_unwatched_search():
    reading, batch = varied(20)
    made = write_watched(reading.model, batch, reading.decoding)
    assert [one.ids for one in made] == write(reading.model, batch, reading.decoding)
    assert len({len(one.ids) for one in made}) > 3
    assert not any(one.loop for one in made)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_both_searches_see_the_same(unable, monkeypatch, temperature):
    reading, batch = varied(12)
    theirs = write_watched(reading.model, batch, reading.decoding, temperature, range(12))
    monkeypatch.undo()
    ours = write_watched(reading.model, batch, reading.decoding, temperature, range(12))
    assert [one.ids for one in ours] == [one.ids for one in theirs]
    assert [one.log_prob for one in ours] == pytest.approx([one.log_prob for one in theirs], abs=1e-3)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_the_likelihood_is_that_of_reading_the_text_again(temperature):
    reading, _ = varied(10)
    pages = pictured(noise(10))
    made = write_watched(
        reading.model, reading.task.form.collate(pages, None), reading.decoding, temperature, range(10)
    )
    again = reading.task.form.collate(pages, [one.ids for one in made])
    with torch.inference_mode():
        expected = -nll(forward(reading.model, again).logits, again["labels"])
    assert [one.log_prob for one in made] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-3)


def test_what_is_drawn_for_a_page_depends_on_nothing_beside_it():
    reading, batch = varied(9)
    together = write_watched(reading.model, batch, reading.decoding, 0.8, range(9))
    pixels, mask = batch["pixel_values"], batch["attention_mask"]
    for row in (0, 4, 8):
        one = {"pixel_values": pixels[row : row + 1], "attention_mask": mask[row : row + 1]}
        assert write_watched(reading.model, one, reading.decoding, 0.8, [row])[0].ids == together[row].ids
    turned = {"pixel_values": pixels.flip(0), "attention_mask": mask}
    backwards = write_watched(reading.model, turned, reading.decoding, 0.8, list(range(9))[::-1])
    assert [one.ids for one in backwards[::-1]] == [one.ids for one in together]
    others = write_watched(reading.model, batch, reading.decoding, 0.8, range(20, 29))
    assert [one.ids for one in others] != [one.ids for one in together]


def test_draws_follow_the_probabilities():
    reading = stub_reader({"a": 0.0, "b": 1.0}, most=8).reading
    batch = reading.task.form.collate(pictured(noise(1) * 400), None)
    made = write_watched(reading.model, batch, Decoding(1, 5), 0.5, range(400))
    text = "".join(reading.task.form.texts([one.ids for one in made]))
    assert len(text) == 2_000
    assert text.count("b") / 2_000 == pytest.approx(1 / (1 + torch.tensor(-2.0).exp().item()), abs=0.025)


@pytest.mark.parametrize("searched", ["ours", "theirs"])
def test_a_loop_is_ended_as_soon_as_it_is_certain(request, searched):
    if searched == "theirs":
        request.getfixturevalue("unable")
    reading = stub_reader({"a": 5.0}, most=512).reading
    [one] = write_watched(reading.model, reading.task.form.collate(pictured(noise(1)), None), reading.decoding)
    certain = -(-CERTAIN_TOKENS // LOOKED_EVERY) * LOOKED_EVERY
    assert (len(one.ids), one.loop) == (certain, (1, certain))
    assert certain < reading.decoding.max_length


def test_what_stands_on_pages_is_no_certain_loop():
    assert certain_loop([7] * 399) is None
    assert certain_loop([7] * 400) == (1, 400)
    assert certain_loop([9, *range(100), *range(100), *range(100), *range(100)]) is None  # four copies
    assert certain_loop([9, *list(range(50)) * 8]) == (50, 8)
    assert certain_loop([9, *list(range(80)) * 7]) is None
    assert certain_loop([32] * 500) == (1, 500)  # whatever token is a space
    assert certain_loop(list(range(600))) is None
    assert certain_loop([]) is None


def test_after_a_prompt_only_what_is_written_counts():
    from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessorList, StoppingCriteriaList

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=12, bos_token_id=1, eos_token_id=2, pad_token_id=0, **shape)).eval()
    model.lm_head.weight.data.normal_(0.0, 1.0)
    prompts = torch.tensor([[0, 0, 5, 6], [3, 4, 5, 6], [0, 7, 8, 9]])
    mask = (prompts != 0).long()
    watch = Watch(3, {2}, 1.0, [1, 2, 3])
    made = model.generate(
        input_ids=prompts,
        attention_mask=mask,
        max_new_tokens=9,
        do_sample=False,
        logits_processor=LogitsProcessorList([watch.scoring]),
        stopping_criteria=StoppingCriteriaList([watch.ending]),
    )
    for row, one in enumerate(watch.watched(made)):
        assert one.ids == made[row, 4 : 4 + len(one.ids)].tolist()
        assert one.ids[-1] == 2 or len(one.ids) == 9
        whole = torch.tensor([[*prompts[row][mask[row] == 1].tolist(), *one.ids]])
        with torch.no_grad():
            log_probs = model(whole).logits[0, -len(one.ids) - 1 : -1].log_softmax(-1)
        expected = log_probs.gather(1, torch.tensor(one.ids)[:, None]).sum().item()
        assert one.log_prob == pytest.approx(expected, abs=1e-3)
