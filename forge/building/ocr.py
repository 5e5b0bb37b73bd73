"""OCR: pages → characters or a processor, and a model → splits ready to collate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from forge.building.asked import page_prompts
from forge.building.base import Built, Sampling, Site, whole_head
from forge.building.page_model import build_page_model, load_page_model, page_decoding, page_task
from forge.building.page_splits import encode_splits, most_labels, with_longest
from forge.config.schema import Glyphs, Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.models.adapt import adapt
from forge.models.capture import AttentionSite, HiddenSite, layout
from forge.models.generate import Decoding, write
from forge.models.image_text import is_sheet_reader, load_sheet_reader, peek_reader, sheet_of
from forge.models.load import load_tokenizer, tokenizer_files
from forge.models.seq2seq import start_token
from forge.objectives.auxiliary import Auxiliary
from forge.objectives.glyphs import CellCharacters, GuidedAttention, make_cell_head
from forge.tasks.base import TaskData
from forge.tasks.ocr.characters import character_tokenizer
from forge.tasks.ocr.glyphs import Grid
from forge.tasks.ocr.read import CANVAS, PageSplits, read_page_splits
from forge.tasks.ocr.sheet import Sheet
from forge.tasks.ocr.task import OcrTask

STAND_IN_LABELS = 256  # characters that a reader writes in another's place, at most


def build_ocr(site: Site) -> Built:
    """Raises UserError for pages or a model that do not go together."""
    with site.accelerator.main_process_first():  # it renders the pages that the others then find
        splits = read_page_splits(site.settings.data, site.found.data)
    assert splits.train is not None
    config = peek_reader(site.source, site.wanted)
    if is_sheet_reader(config):
        return _sheet_reader(site, splits, config)
    if site.settings.glyphs.wanted:
        raise UserError("glyphs: only embedded readers learn where characters are; take it out")
    assert config is not None
    return build_page_model(site, splits, config)


def _sheet_reader(site: Site, splits: PageSplits, config: PretrainedConfig | None) -> Built:
    settings = site.settings
    if site.found.model.stand_in:  # embedded pages are short, and one that has learnt nothing comes to no end
        settings = with_longest(settings, STAND_IN_LABELS)
    tokenizer = _characters(site, splits, most_labels(settings))
    sheet = settings.data.pages.canvas or sheet_of(config) or splits.sheet
    model = load_sheet_reader(site.source, site.wanted, tokenizer, settings.seed, most_labels(settings), sheet)
    adapt(model, site.wanted, settings.seed, site.found.model.stand_in)
    places = settings.glyphs.wanted and settings.rl is None  # of what is sampled nobody knows any
    task = sheet_task(settings, model, tokenizer, sheet, places)

    def again(task: OcrTask) -> TaskData:
        return encode_splits(task, splits, site)

    data, most = again(task), most_labels(settings)
    assert data.train is not None
    assert isinstance(task.form, Sheet)
    asked: Any = model
    sampling = Sampling(
        task.form.start,
        None,
        task.form.most,
        asked.config.decoder.max_position_embeddings,
        partial(load_sheet_reader, site.found.model, settings.model, tokenizer, settings.seed, most, sheet),
        page_prompts(data.train),
    )
    return Built(
        task,
        data,
        model,
        tokenizer_files(site.source, site.wanted, tokenizer),
        {"sheet": list(sheet)},
        again,
        whole_head(site, model),
        [f"pages: {sheet[0]} × {sheet[1]} pixels, {len(tokenizer)} characters"],
        list(splits.notices),
        _beside(settings.glyphs, model, task, settings.seed) if places else None,
        sampling,
    )


def sheet_task(
    settings: Settings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sheet: tuple[int, int],
    places: bool = False,
) -> OcrTask:
    """The task for an embedded reader."""
    asked: Any = model
    longest = min(most_labels(settings), asked.config.decoder.max_position_embeddings)
    form = Sheet(tokenizer, Grid(sheet), longest, start_token(model), places)
    best = decoding(settings, longest)
    quick = replace(best, beams=settings.generate.beams_while_training)
    return OcrTask(form, partial(write, decoding=quick), partial(write, decoding=best))


def decoding(settings: Settings, longest: int) -> Decoding:
    """How a reader that writes at most `longest` tokens is made to write when results are measured."""
    chosen = settings.generate
    return Decoding(chosen.beams, min(chosen.max_length or longest, longest), chosen.length_penalty)


@dataclass(frozen=True)
class Reading:
    """A trained model, and what reads pages with it. `sheet` is the size in pixels of the only pages it can see."""

    model: PreTrainedModel
    task: OcrTask
    decoding: Decoding
    sheet: tuple[int, int] | None = None


def reading_of(settings: Settings, source: Asset, wanted: Model, facts: Mapping[str, Any]) -> Reading:
    """Load a checkpoint of a run, of whatever family its model is; `facts` are what building the run noted.

    Raises UserError.
    """
    config = peek_reader(source, wanted)
    if config is not None and not is_sheet_reader(config):
        model, processor = load_page_model(source, wanted, config, settings.seed)
        return Reading(model, page_task(settings, model, processor), page_decoding(settings, model))
    tokenizer = load_tokenizer(source, wanted, [])
    height, width = facts.get("sheet") or settings.data.pages.canvas or sheet_of(config) or CANVAS
    sheet = (int(height), int(width))
    model = load_sheet_reader(source, wanted, tokenizer, settings.seed, most_labels(settings), sheet)
    task = sheet_task(settings, model, tokenizer, sheet)
    assert isinstance(task.form, Sheet)
    return Reading(model, task, decoding(settings, task.form.most), sheet)


def _characters(site: Site, splits: PageSplits, most: int) -> PreTrainedTokenizerBase:
    """The reader's own; a student that is made from nothing takes its teacher's, so that the two write alike."""
    source, wanted, teacher, chosen = site.source, site.wanted, site.found.teacher, site.settings.teacher
    if source.source != "embedded" or wanted.tokenizer:
        return load_tokenizer(source, wanted, [])
    if teacher and teacher.source != "embedded":
        its = Model(name=teacher.location, revision=chosen.revision)
        if is_sheet_reader(peek_reader(teacher, its, "teacher.name")):
            return load_tokenizer(teacher, its, [], "teacher.name")
    assert splits.train is not None
    texts = splits.train.rows["markdown"] if "markdown" in splits.train.rows.column_names else []
    return character_tokenizer(texts, most)


def _beside(chosen: Glyphs, model: PreTrainedModel, task: OcrTask, seed: int) -> Auxiliary:
    """The losses on where characters are."""
    form, stacks, asked = task.form, layout(model), model.config
    assert isinstance(form, Sheet)
    if set(stacks) != {"encoder", "decoder"}:
        raise UserError("glyphs: only embedded readers learn where characters are; take it out")
    terms: list[Any] = []
    if chosen.cells:
        width, drawn = stacks["encoder"].width, derive_seed(seed, "glyphs")
        head = make_cell_head(width, form.grid.sub_cells, asked.decoder.vocab_size, drawn)
        site = HiddenSite("encoder", stacks["encoder"].depth)
        terms.append(
            CellCharacters("cells", chosen.cells, site, head, int(form.tokenizer.pad_token_id), chosen.blank_weight)
        )
    depth, (_, cell_width) = stacks["decoder"].depth, form.grid.cell
    if chosen.attention:
        last = AttentionSite("decoder", "cross", depth)
        terms.append(GuidedAttention("attention", chosen.attention, last, cell_width, chosen.reach))
    if chosen.place:
        if depth < 2:
            raise UserError("glyphs.place: the decoder has no layer before its last; set it to 0")
        before = AttentionSite("decoder", "cross", depth - 1)
        terms.append(GuidedAttention("place", chosen.place, before, cell_width, chosen.reach, to_last_written=True))
    return Auxiliary(terms, model, chosen.alone_steps)
