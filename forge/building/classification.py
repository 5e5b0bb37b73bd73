"""Classification: tables → label names → model and tokenizer → encoded splits."""

from __future__ import annotations

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forge.building.base import Built, Site
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.models.adapt import adapt
from forge.models.load import (
    check_length,
    load_classifier,
    load_tokenizer,
    peek,
    tokenizer_files,
    trained_labels,
)
from forge.tasks.base import TaskData
from forge.tasks.classification import ClassificationTask, label_names
from forge.tasks.labels import plan_labels
from forge.tasks.sources import Table
from forge.tasks.splits import RawData, read_splits


def build_classification(site: Site) -> Built:
    """Raises UserError for labels, texts or a model that do not go together."""
    settings, source, wanted = site.settings, site.source, site.wanted
    raw = read_splits(settings.data, site.found.data)
    assert raw.train is not None
    config = peek(source, wanted)
    data_names = label_names(raw.train, raw.columns.label, raw.labels)
    plan = plan_labels(data_names, *trained_labels(config, wanted), wanted.head)
    tokenizer = _tokenizer(site, raw)
    files = tokenizer_files(source, wanted, tokenizer)
    model = load_classifier(source, wanted, plan, tokenizer, settings.seed)
    head = [part for part in model.children() if part is not model.base_model]
    adapt(model, wanted, settings.seed, site.found.model.stand_in, head)
    task = ClassificationTask(plan.names, tokenizer, _max_length(settings, model, site.found.model))

    def again(task: ClassificationTask) -> TaskData:
        return encode_splits(task, raw, site)

    data = again(task)
    header = [f"labels: {', '.join(plan.names)}"]
    notices = [*([plan.notice] if plan.notice else []), *data.notices]
    facts = {"labels": plan.names, "columns": raw.columns.model_dump()}
    return Built(task, data, model, files, facts, again, header=header, notices=notices)


def encode_splits(task: ClassificationTask, raw: RawData, site: Site) -> TaskData:
    """Encode every split; the main process first, so that the others find its cache."""
    settings, limits = site.settings, {"train": site.settings.data.max_train_examples}
    notices: list[str] = []
    fingerprints: dict[str, str] = {}

    def encode(role: str, name: str, table: Table) -> Dataset:
        limit = limits.get(role, settings.evaluate.max_examples)
        with site.accelerator.main_process_first():
            encoded, unlabelled = task.encode(table, raw.columns, limit)
        if unlabelled:
            notices.append(f"{table.name}: {unlabelled} rows without a label were left out")
        fingerprints[name if name == role else f"{role}.{name}"] = table.fingerprint
        return encoded

    train_data = encode("train", "train", raw.train) if raw.train else None
    validation = {name: encode("validation", name, table) for name, table in raw.validation.items()}
    test = {name: encode("test", name, table) for name, table in raw.test.items()}
    return TaskData(train_data, validation, test, fingerprints, tuple(notices))


def _tokenizer(site: Site, raw: RawData) -> PreTrainedTokenizerBase:
    """The model's own, or as named. An embedded student takes its teacher's, so that the two read alike."""
    source, wanted = site.source, site.wanted
    teacher, chosen = site.found.teacher, site.settings.teacher
    if source.source == "embedded" and not wanted.tokenizer and teacher and teacher.source != "embedded":
        its = Model(name=teacher.location, revision=chosen.revision, trust_remote_code=chosen.trust_remote_code)
        return load_tokenizer(teacher, its, [], "teacher.name")
    return load_tokenizer(source, wanted, _training_texts(raw) if source.source == "embedded" else [])


def _training_texts(raw: RawData) -> list[str]:
    assert raw.train is not None
    columns = [raw.columns.text, raw.columns.text_pair]
    return [text for column in columns if column for text in raw.train.column(column, "data.columns")]


def _max_length(settings: Settings, model: PreTrainedModel, asset: Asset) -> int:
    if asset.source == "embedded":  # a stand-in reads what it can
        return min(settings.data.max_length, int(model.config.max_position_embeddings))
    check_length(model, settings.data.max_length)
    return settings.data.max_length
