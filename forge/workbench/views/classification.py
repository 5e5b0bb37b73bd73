"""Classifiers: probabilities of each class, its own labels in the student's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from datasets import Dataset

from forge.config.schema import Columns
from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.inference.splits import noted_data
from forge.models.load import load_classifier, load_tokenizer, longest_input, peek, trained_labels
from forge.runs.run_dir import RunDirectory
from forge.tasks.classification import ClassificationTask, read_labels, read_texts
from forge.tasks.encoding import tokenizer_mark
from forge.tasks.labels import LabelPlan, order_in, plan_teacher_labels
from forge.tasks.metrics.classification import softmax
from forge.tasks.sources import Table
from forge.tasks.splits import read_splits
from forge.train.evaluate import infer
from forge.workbench.disagreement import jensen_shannon_bits
from forge.workbench.findings import Disagreement
from forge.workbench.overlap import key_of, parted_from
from forge.workbench.parted import Choices, calibrated, classes_compared, classes_part
from forge.workbench.probe_inputs import bag_of_words, overlap, words_of
from forge.workbench.probed import Labelled
from forge.workbench.slices import Axis, named_axis, negation_axis, quantile_axis
from forge.workbench.stacks import Missed
from forge.workbench.views.base import (
    AT_ONCE,
    Loaded,
    Made,
    Shown,
    Source,
    Watched,
    chosen_rows,
    observe,
    only,
    parameters_of,
    require_left,
)

LENGTHS = 4  # bins of like many rows
CONTENT = 4  # letters of the shortest word that control labels hang on, where a text has such a word


class ClassificationView:
    """Classification's part."""

    most = 2_000
    most_quick = 500

    def show(self, run: RunDirectory, split: str, table: Table, most: int) -> Shown:
        """Labelled rows whose texts are not in the training set."""
        metadata = run.metadata()
        labels, columns = list(metadata["labels"]), Columns(**metadata["columns"])
        texts, gold = read_texts(table, columns), read_labels(table, columns.label, labels)
        keys = [key_of(*both) for both in zip(*texts.values(), strict=True)]
        labelled = [row for row, label in enumerate(gold) if label is not None]
        what = "both texts" if len(texts) > 1 else "the text"
        free, overlapping = parted_from(labelled, keys, _trained_on(run, columns), what)
        require_left(free, table.name)
        rows = chosen_rows(free, most, table.fingerprint)
        gold_N = np.array([gold[row] for row in rows], np.int64)
        return Shown(
            split=split,
            table=only(table, rows),
            of=len(table.rows),
            overlap=overlapping,
            ids=tuple(f"{split} {row}" for row in rows),
            inputs=tuple({name: values[row] for name, values in texts.items()} for row in rows),
            gold=tuple(labels[label] for label in gold_N),
            groups=tuple(str(texts["text"][row]) for row in rows),
            fingerprint=table.fingerprint,
            labels=tuple(labels),
            gold_N=gold_N,
        )

    def check(self, source: Source, shown: Shown) -> None:
        """It tells the same labels apart."""
        _own_labels(source, shown)

    def load(self, source: Source, shown: Shown) -> Loaded:
        """With its labels matched to the student's by name."""
        asset, wanted, own = source.asset, source.wanted, _own_labels(source, shown)
        tokenizer = load_tokenizer(asset, wanted, [], source.path)
        model = load_classifier(asset, wanted, LabelPlan(own, keep_head=True), tokenizer, 0, source.path)
        accelerator = Accelerator()
        model.to(accelerator.device).eval()
        longest = longest_input(model.config) or source.settings.data.max_length
        task = ClassificationTask(shown.labels, tokenizer, min(source.settings.data.max_length, longest))
        return Loaded(source, task, model, accelerator, tokenizer, order_in(shown.labels, own))

    def encode(self, loaded: Loaded, shown: Shown) -> Dataset:
        """Texts or pairs of texts."""
        assert isinstance(loaded.task, ClassificationTask)
        inputs = {name: [row[name] for row in shown.inputs] for name in shown.inputs[0]}
        return loaded.task.encode_free(inputs["text"], inputs.get("text_pair"))

    def choices(self, loaded: Loaded, data: Dataset) -> Choices:
        """Probabilities of each of the data's labels."""
        logits_NC = np.stack(infer(loaded.accelerator, loaded.task, loaded.model, data, AT_ONCE))
        return Choices(softmax(logits_NC if loaded.order is None else logits_NC[:, loaded.order]))

    def watch(
        self,
        loaded: Loaded,
        shown: Shown,
        folder: Path,
        reference: Made | None,  # noqa: ARG002
        quick: bool,  # noqa: ARG002
    ) -> Watched:
        """Probabilities and hidden states."""
        assert shown.gold_N is not None
        data, missed = self.encode(loaded, shown), Missed()
        made = self.choices(loaded, data)
        return Watched(
            loaded.source.key,
            type(loaded.model).__name__,
            parameters_of(loaded.model),
            observe(loaded, data, shown.ids, folder, missed=missed),
            made,
            made.figures(shown.gold_N),
            digest(tokenizer_mark(loaded.tokenizer)),
            missed=missed,
        )

    def axes(self, shown: Shown, reference: Made | None) -> list[Axis]:
        """Class, length, overlap and negation; how sure the reference is."""
        texts, pairs = _sides(shown)
        found = [
            named_axis("class", shown.labels, np.asarray(shown.gold_N)),
            quantile_axis("words", _lengths(shown)),
        ]
        if pairs is not None:
            shares = [overlap(*both) for both in zip(texts, pairs, strict=True)]
            found.append(quantile_axis("overlap", np.array(shares)))
        found.append(negation_axis(pairs if pairs is not None else texts))
        if isinstance(reference, Choices):
            found.append(quantile_axis("confidence of the reference", reference.confidence))
        return found

    def labelled(self, stack: str, shown: Shown) -> list[Labelled]:  # noqa: ARG002
        """The class, and how long the text is."""
        texts, pairs = _sides(shown)
        bag_ND = bag_of_words(texts, pairs)
        words = tuple(_content_word(text) for text in (pairs if pairs is not None else texts))
        lengths = quantile_axis("words", _lengths(shown), LENGTHS)
        assert shown.gold_N is not None
        return [
            Labelled(
                "class",
                "The label of the data: what the task asks for.",
                True,
                shown.labels,
                shown.gold_N,
                shown.groups,
                words,
                bag_ND,
            ),
            Labelled(
                "length",
                "How many words the text has, in bins of like many rows: a property of the surface, not of the task.",
                False,
                lengths.kinds,
                lengths.kind_N,
                shown.groups,
            ),
        ]

    def parts(
        self,
        shown: Shown,
        watched: Mapping[str, Watched],
        reference: str | None,
        pairs: Sequence[tuple[str, str]],
        axes: Sequence[Axis],
        seed: int,
    ) -> Disagreement:
        """Of all models with the reference; calibration of each."""
        assert shown.gold_N is not None
        gold_N = shown.gold_N
        choices = {key: one.made for key, one in watched.items() if isinstance(one.made, Choices)}
        others = [] if reference is None else [key for key in choices if key != reference]
        return Disagreement(
            classes=tuple(
                classes_part(reference, key, gold_N, (choices[reference], choices[key]), axes)
                for key in others
                if reference is not None
            ),
            calibration=tuple(
                calibrated(key, one, gold_N, seed) for key, one in choices.items() if key != "random_init"
            ),
            compared=tuple(
                classes_compared(reference, pair, gold_N, choices)
                for pair in pairs
                if reference is not None and "random_init" not in pair
            ),
        )

    def said(self, made: Made, shown: Shown) -> tuple[list[str], list[float]]:
        """The likeliest class."""
        assert isinstance(made, Choices)
        return [shown.labels[answer] for answer in made.answers], made.confidence.tolist()

    def apart(self, reference: Made, other: Made) -> list[float | None]:
        """Jensen-Shannon in bits."""
        assert isinstance(reference, Choices)
        assert isinstance(other, Choices)
        found: list[float | None] = jensen_shannon_bits(reference.probabilities_NC, other.probabilities_NC).tolist()
        return found


def _own_labels(source: Source, shown: Shown) -> list[str]:
    """The labels of the data in the order of the model's outputs."""
    if source.of_run:
        own = list(source.facts["labels"])
        if sorted(own) != sorted(shown.labels):
            raise UserError(
                f"{source.path}  tells {', '.join(own)} apart, the student {', '.join(shown.labels)}; only models of "
                "the same labels are compared"
            )
        return own
    told = source.wanted.model_copy(update={"labels": source.settings.teacher.labels})
    names, has_head = trained_labels(peek(source.asset, told, source.path), told, "teacher")
    return plan_teacher_labels(shown.labels, names, has_head, source.path, bool(told.labels))


def _trained_on(run: RunDirectory, columns: Columns) -> set[tuple[str, ...]]:
    """All training texts of a run, as `key_of` has them."""
    data, asset = noted_data(run)
    raw = read_splits(data.model_copy(update={"validation": None, "test": None}), asset)
    return set(map(key_of, *read_texts(raw.train, columns).values())) if raw.train else set()


def _sides(shown: Shown) -> tuple[list[str], list[str] | None]:
    texts = [row["text"] for row in shown.inputs]
    return texts, [row["text_pair"] for row in shown.inputs] if "text_pair" in shown.inputs[0] else None


def _lengths(shown: Shown) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([sum(len(words_of(text)) for text in row.values()) for row in shown.inputs], np.float64)


def _content_word(text: str) -> str:
    words = words_of(text)
    return next((word for word in words if len(word) >= CONTENT), words[0] if words else "")
