"""What models of real classes are given of a page, what they are to say, and what they write."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from toy_vision_models import DECODERS, ENCODER_DECODERS, make

from forge.building.page_model import load_page_model, page_task
from forge.config.schema import Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.adapt import find_part
from forge.models.capture import AttentionSite, HiddenSite, layout
from forge.models.head import find_head
from forge.models.image_text import peek_reader
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.hidden_mse import hidden_mse
from forge.objectives.kd.objective import KD, read_sites
from forge.objectives.kd.teacher import OnlineTeacher
from forge.objectives.kd.terms import Attention, Feature, Response
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, PROMPT_TOKENS, Batch
from forge.tasks.ocr.pictures import Pictured
from forge.tasks.ocr.task import OcrTask

ALL = [*DECODERS, *ENCODER_DECODERS]
PAGES = [
    Pictured(np.random.default_rng(0).integers(0, 255, (40, 90), dtype=np.uint8), "# Title"),
    Pictured(
        np.random.default_rng(1).integers(0, 255, (70, 50, 3), dtype=np.uint8), "A longer text,\n\n- with *items*"
    ),
]


def settings(model: Path, **pages: Any) -> Settings:
    data = {"name": "embedded/pages", "max_target_length": 64, "pages": {"prompt": "Read.", **pages}}
    return Settings.model_validate(
        {"task": "ocr", "model": {"name": str(model)}, "data": data, "generate": {"beams": 1, "max_length": 8}}
    )


@lru_cache
def folder(kind: str, seed: int = 0) -> Path:
    return make(kind, Path(mkdtemp()) / kind, seed)


def loaded(kind: str, seed: int = 0) -> tuple[Any, Any]:
    asset, wanted = Asset(kind, "path", str(folder(kind, seed))), settings(folder(kind, seed)).model
    config = peek_reader(asset, wanted)
    assert config is not None
    model, processor = load_page_model(asset, wanted, config, 0)
    return model.eval(), processor


@lru_cache
def ready(kind: str) -> tuple[Any, Any, OcrTask]:
    model, processor = loaded(kind)
    return model, processor, page_task(settings(folder(kind)), model, processor)


def batch_of(task: OcrTask, pages: list[Pictured]) -> Batch:
    return task.form.collate(pages, task.form.encode([page.markdown for page in pages]))


@pytest.mark.parametrize("kind", DECODERS)
def test_only_the_answer_and_its_end_are_to_be_said(kind: str) -> None:
    _, processor, task = ready(kind)
    form: Any = task.form
    answers = form.encode([page.markdown for page in PAGES])
    batch = batch_of(task, PAGES)
    for row, (page, answer) in enumerate(zip(PAGES, answers, strict=True)):
        prompt = int(batch[PROMPT_TOKENS][row])
        length = int(batch["attention_mask"][row].sum())
        ids, labels = batch["input_ids"][row].tolist(), batch["labels"][row].tolist()
        assert ids[prompt:length] == answer[:-1]
        assert set(ids[length:]) <= {processor.tokenizer.pad_token_id}
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (len(ids) - length)
        assert labels == [IGNORED_LABEL] * (prompt - 1) + answer + [IGNORED_LABEL] * (len(ids) - length)
        assert answer[-1] in form.ends
        assert not form.ends.intersection(answer[:-1])
        assert form.texts([answer]) == [page.markdown]
        for name in batch.keys() - {"input_ids", "attention_mask", "labels"}:
            if batch[name].shape == batch["input_ids"].shape:
                assert not batch[name][row, prompt:].any()
        whole = processor.tokenizer.decode(ids[:prompt])
        assert "Read." in whole
        if processor.chat_template:
            said = [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read."}]},
                {"role": "assistant", "content": [{"type": "text", "text": page.markdown}]},
            ]
            text = processor.apply_chat_template(said, tokenize=False)
            once = processor(text=[text], images=[[page.image()]], return_tensors="pt")["input_ids"][0].tolist()
            assert once[: length + 1] == [*ids[:length], answer[-1]]


@pytest.mark.parametrize("kind", ALL)
def test_the_loss_is_that_of_transformers(kind: str) -> None:
    model, _, task = ready(kind)
    batch = batch_of(task, PAGES)
    totals = {"labels": float((batch["labels"] != IGNORED_LABEL).sum())}
    head = find_head(model)
    assert head is not None
    with torch.no_grad():
        in_chunks, at_once = (SFT(head=one).compute(model, batch, totals).loss.item() for one in (head, None))
        if kind in ENCODER_DECODERS:
            theirs = model(pixel_values=batch["pixel_values"], labels=batch["labels"]).loss.item()
        else:
            inputs = {name: value for name, value in batch.items() if name not in {"labels", PROMPT_TOKENS}}
            shifted = torch.nn.functional.pad(batch["labels"], (1, 0), value=IGNORED_LABEL)  # theirs shifts back
            longer = {
                name: torch.nn.functional.pad(value, (0, 1)) if value.shape == batch["input_ids"].shape else value
                for name, value in inputs.items()
            }
            theirs = model(**longer, labels=shifted).loss.item()
    assert in_chunks == pytest.approx(at_once, rel=1e-5)
    assert in_chunks == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("kind", ALL)
def test_a_batch_is_as_its_pages_alone(kind: str) -> None:
    model, _, task = ready(kind)
    together = task.infer(model, batch_of(task, PAGES))
    for page, found in zip(PAGES, together, strict=True):
        alone = task.infer(model, batch_of(task, [page]))[0]
        assert found.ids == alone.ids
        assert (found.nll, found.tokens) == (pytest.approx(alone.nll, rel=1e-4), alone.tokens)
    written = task.write(model, task.form.collate(PAGES, None))
    assert written == [found.ids for found in together]
    assert all(len(ids) <= 8 for ids in written)


@pytest.mark.parametrize("kind", DECODERS)
def test_what_it_writes_is_what_it_holds_likeliest(kind: str) -> None:
    model, _, task = ready(kind)
    written = task.write(model, task.form.collate(PAGES, None))
    batch = task.form.collate(PAGES, written)
    with torch.no_grad():
        inputs = {name: value for name, value in batch.items() if name not in {"labels", PROMPT_TOKENS}}
        logits = model(**inputs).logits
        logits[..., model.generation_config.suppress_tokens] = float("-inf")  # an image is not written
        likeliest = logits.argmax(-1)
    said = batch["labels"] != IGNORED_LABEL
    assert torch.equal(likeliest[said], batch["labels"][said])


def test_a_prompt_is_never_cut_and_an_answer_is() -> None:
    model, processor, _ = ready("lighton_ocr")
    task = page_task(settings(folder("lighton_ocr")), model, processor)
    form: Any = replace(task.form, most=5)  # type: ignore[type-var]
    labels = form.encode(["0123456789", "012", "0123"])
    assert [len(one) for one in labels] == [5, 4, 5]
    assert [one[-1] in form.ends for one in labels] == [False, True, True]
    batch = form.collate(PAGES, form.encode([page.markdown for page in PAGES]))
    assert int(batch[PROMPT_TOKENS].min()) > 5
    image = processor.image_token_id
    expected = [height // 16 * (width // 16) for height, width in batch["image_sizes"].tolist()]
    assert [int((row == image).sum()) for row in batch["input_ids"]] == expected


def test_pages_are_shrunk_before_the_processor() -> None:
    model, processor, _ = ready("lighton_ocr")
    task = page_task(settings(folder("lighton_ocr"), longest_edge=32), model, processor)
    assert batch_of(task, PAGES)["image_sizes"].tolist() == [[16, 32], [32, 32]]


@pytest.mark.parametrize("kind", ALL)
def test_a_page_about_tokens_gives_no_commands(kind: str) -> None:
    _, processor, task = ready(kind)
    special = [token for token in processor.tokenizer.all_special_tokens if token.startswith("<")]
    text = "a " + " ".join([*special, getattr(processor, "image_token", None) or "<image>"])
    (ids,) = task.form.encode([text])
    assert task.form.texts([ids]) == [text] or len(ids) == 64
    task.form.collate([replace(PAGES[0], markdown=text)], [ids])


def test_the_prompt_may_stand_first_or_be_left_out() -> None:
    model, processor, _ = ready("qwen2_vl")
    first: Any = page_task(settings(folder("qwen2_vl"), prompt_first=True), model, processor).form
    assert "Read.<|vision_start|>" in first.chat.prompt
    none: Any = page_task(settings(folder("qwen2_vl"), prompt=""), model, processor).form
    assert none.chat.prompt.endswith("<|vision_end|><|im_end|>\n<|im_start|>assistant\n")


def distilling(student: Any, teacher: Any) -> KD:
    stacks = layout(student)
    hidden = [(HiddenSite("decoder", 1), HiddenSite("decoder", 1))]
    attention = [(AttentionSite("decoder", "self", 2), AttentionSite("decoder", "self", 2))]
    terms = [
        Response("forward_kl", 1.0, partial(forward_kl, temperature=2.0)),
        Feature("hidden_mse", 1.0, hidden, hidden_mse, None),
        Attention("attention_kl", 1.0, attention, None),
    ]
    objective = KD(SFT(head=find_head(student)), 0.5, terms, student, stacks)
    objective.learn_from(OnlineTeacher(teacher, read_sites(terms, "teacher"), head=find_head(teacher)))
    return objective


@pytest.mark.parametrize("kind", ["idefics3", "lighton_ocr"])
def test_one_learns_from_another_of_its_family(kind: str) -> None:
    _, _, task = ready(kind)
    batch = batch_of(task, PAGES)
    for seed, equal in ((0, True), (1, False)):
        student, teacher = loaded(kind)[0], loaded(kind, seed)[0]
        objective = distilling(student, teacher)
        report = objective.compute(student, batch, objective.counts(batch))
        for name in ("forward_kl", "hidden_mse", "attention_kl"):
            assert (abs(report.parts[name].item()) < 1e-5) == equal, name
        report.loss.backward()


def test_what_is_not_covered_is_told_in_a_line() -> None:
    with pytest.raises(UserError, match=r"'qwen2_vl'.* is not covered .* response losses work with any model"):
        layout(ready("qwen2_vl")[0])


def test_parts_are_found_by_one_name() -> None:
    for kind in DECODERS:
        for part in ("vision", "text", "projector"):
            assert next(find_part(ready(kind)[0], part).parameters(), None) is not None
    with pytest.raises(UserError, match=r"model.freeze: .* has no eyes; it has "):
        find_part(ready("lighton_ocr")[0], "eyes")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig(hidden_size=8).save_pretrained(tmp_path)
    asset, wanted = Asset("some/bert", "path", str(tmp_path)), settings(tmp_path).model
    config = peek_reader(asset, wanted)
    assert config is not None
    with pytest.raises(UserError, match=r"model.name"):
        load_page_model(asset, wanted, config, 0)
