"""OCR with a model from a directory: an image-text-to-text model that is prompted, or a vision-encoder-decoder."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from transformers import PretrainedConfig, PreTrainedModel

from forge.building.asked import page_prompts
from forge.building.base import Built, Sampling, Site, whole_head
from forge.building.page_splits import encode_splits, most_labels
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.adapt import adapt
from forge.models.generate import Decoding, write
from forge.models.image_text import encoder_places, load_image_text, settle_ends
from forge.models.processor import load_processor, processor_files
from forge.models.seq2seq import start_token
from forge.tasks.base import TaskData
from forge.tasks.ocr.chat import chat_of
from forge.tasks.ocr.prompted import Prompted, image_tokens
from forge.tasks.ocr.read import PageSplits
from forge.tasks.ocr.seen import Seen
from forge.tasks.ocr.task import Form, OcrTask


def build_page_model(site: Site, splits: PageSplits, config: PretrainedConfig) -> Built:
    """Raises UserError for pages or a model that do not go together."""
    settings = site.settings
    model, processor = load_page_model(site.source, site.wanted, config, settings.seed)
    adapt(model, site.wanted, settings.seed, site.found.model.stand_in)
    task = page_task(settings, model, processor)

    def again(task: OcrTask) -> TaskData:
        return encode_splits(task, splits, site)

    data = again(task)
    return Built(
        task,
        data,
        model,
        processor_files(site.source, site.wanted, processor),
        {},
        again,
        whole_head(site, model),
        [_header(settings, task.form)],
        list(splits.notices),
        sampling=_sampling(site, model, task, data, config),
    )


def _sampling(site: Site, model: PreTrainedModel, task: OcrTask, data: TaskData, config: PretrainedConfig) -> Sampling:
    """How texts about a page are sampled."""
    assert isinstance(task.form, Seen | Prompted)
    assert data.train is not None
    decoder, settings = model.config.get_text_config(decoder=True), site.settings
    most = getattr(decoder, "max_position_embeddings", None) or task.form.most
    start = task.form.start if isinstance(task.form, Seen) else None
    again = partial(load_image_text, site.found.model, settings.model, config, settings.seed)
    return Sampling(start, None, task.form.most, most, again, page_prompts(data.train))


def load_page_model(
    source: Asset, wanted: Model, config: PretrainedConfig, seed: int, key: str = "model.name"
) -> tuple[PreTrainedModel, Any]:
    """The model and its processor, which know the same tokens. Raises UserError."""
    processor = load_processor(source, wanted, config, key)
    model = load_image_text(source, wanted, config, seed, key)
    asked: Any = model
    known = asked.get_input_embeddings() if not config.is_encoder_decoder else asked.decoder.get_input_embeddings()
    if len(processor.tokenizer) > known.num_embeddings:
        raise UserError(
            f"model.tokenizer: has {len(processor.tokenizer):,} tokens, {key} ({source.asked}) has embeddings for "
            f"{known.num_embeddings:,}; take the model's own tokenizer"
        )
    settle_ends(model, processor.tokenizer)
    never = set(model.generation_config.suppress_tokens or ()) | image_tokens(processor)
    if never and not config.is_encoder_decoder:  # what stands for an image in a prompt is no writing
        model.generation_config.suppress_tokens = sorted(never)
    return model, processor


def page_task(settings: Settings, model: PreTrainedModel, processor: Any) -> OcrTask:
    """The task for a model that was loaded with its processor."""
    best = page_decoding(settings, model)
    quick = replace(best, beams=settings.generate.beams_while_training)
    return OcrTask(_form(settings, model, processor), partial(write, decoding=quick), partial(write, decoding=best))


def page_decoding(settings: Settings, model: PreTrainedModel) -> Decoding:
    """How the result of a run is measured, and its model used."""
    chosen, longest = settings.generate, _longest(settings, model)
    most = min(chosen.max_length or longest, longest)
    return Decoding(chosen.beams, most, chosen.length_penalty)


def _longest(settings: Settings, model: PreTrainedModel) -> int:
    """Most tokens of an answer: as asked, and what a decoder has positions for."""
    positions = getattr(getattr(model.config, "decoder", None), "max_position_embeddings", None)
    return min(most_labels(settings), positions - 1) if positions else most_labels(settings)


def _form(settings: Settings, model: PreTrainedModel, processor: Any) -> Form:
    pages, tokenizer = settings.data.pages, processor.tokenizer
    ends, most = settle_ends(model, tokenizer), _longest(settings, model)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else min(ends)
    if not model.config.is_encoder_decoder:
        chat = chat_of(processor, pages.prompt, pages.prompt_first, ends, end)
        accepted = frozenset(inspect.signature(type(model).forward).parameters)
        return Prompted(processor, chat, most, ends, accepted, pages.longest_edge)
    padding = model.generation_config.pad_token_id
    blank = Image.fromarray(np.full((64, 64, 3), 255, np.uint8))
    pixels = processor.image_processor([blank], return_tensors="pt")["pixel_values"].shape[1:]
    places = encoder_places(model, tuple(pixels))
    return Seen(processor, most, start_token(model), end, ends, padding, places, pages.longest_edge)


def _header(settings: Settings, form: Form) -> str:
    shrunk = f"at most {edge} pixels long" if (edge := settings.data.pages.longest_edge) else "as they are"
    asked = (
        f", asked {settings.data.pages.prompt!r}" if isinstance(form, Prompted) and settings.data.pages.prompt else ""
    )
    return f"pages: {shrunk}, then as the model's processor takes them{asked}"
