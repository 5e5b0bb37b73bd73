"""Label order: names decide, never positions. The proof is a model that would score nothing if positions did."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from forge.config.schema import Columns, Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.load import load_classifier, peek, trained_labels
from forge.tasks.classification import ClassificationTask
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.tasks.labels import LabelPlan, order_in, plan_labels, plan_teacher_labels
from forge.tasks.sources import from_rows

DATA = ["entailment", "neutral", "contradiction"]
NAMELESS = ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("head", ["auto", "keep"])
@pytest.mark.parametrize(
    ("model", "names", "notice"),
    [
        (DATA, DATA, ""),
        (DATA[::-1], DATA[::-1], "label order follows the model: contradiction, neutral, entailment"),
        (["ENTAILMENT", "Neutral", "contra-diction"], DATA, ""),
        (
            ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"],
            DATA[::-1],
            "label order follows the model: contradiction, neutral, entailment",
        ),
    ],
)
def test_the_same_names_keep_the_head_in_the_models_order(head, model, names, notice):
    assert plan_labels(DATA, model, has_head=True, head=head) == LabelPlan(names, keep_head=True, notice=notice)


@pytest.mark.parametrize("model", [DATA, DATA[::-1], NAMELESS, ["a"]])
def test_a_new_head_takes_the_datas_order(model):
    plan = LabelPlan(DATA, keep_head=False)
    assert plan_labels(DATA, model, has_head=True, head="new") == plan
    for head in ("auto", "keep", "new"):
        assert plan_labels(DATA, model, has_head=False, head=head) == plan


@pytest.mark.parametrize("model", [["positive", "negative"], ["a", "b", "c"], ["LABEL_0"], [*DATA, "other"], DATA[:2]])
def test_a_head_for_another_task_is_replaced(model):
    plan = plan_labels(DATA, model, has_head=True, head="auto")
    assert (plan.names, plan.keep_head) == (DATA, False)
    assert plan.notice == f"the model's head was trained for {', '.join(model)}: a new one is drawn"


def test_a_nameless_head_is_refused_until_told():
    with pytest.raises(UserError) as caught:
        plan_labels(DATA, NAMELESS, has_head=True, head="auto")
    assert "does not say what its 3 labels mean" in str(caught.value)
    assert "model.labels" in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = plan_labels(DATA, NAMELESS, has_head=True, head="keep")
    assert (kept.names, kept.keep_head) == (DATA, True)
    assert kept.notice


def test_keeping_a_head_of_another_size_is_refused():
    with pytest.raises(UserError, match="the model has 2 labels and the data 3"):
        plan_labels(DATA, ["LABEL_0", "LABEL_1"], has_head=True, head="keep")


def test_names_that_differ_in_their_signs_alone_are_not_matched_by_chance():
    """`a-b` and `ab` read alike: nothing says which is which, so the head is not kept."""
    plan = plan_labels(["a-b", "ab"], ["ab", "a-b"], has_head=True, head="auto")
    assert not plan.keep_head


@pytest.fixture
def always(tmp_path):
    """always(order, name) → a model directory whose outputs stand in that order and which always says `name`."""
    tokenizer = build_tokenizer(["a dog runs", "a cat sleeps"], 40)

    def _always(order, name):
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
            id2label=dict(enumerate(order)),
            label2id={label: i for i, label in enumerate(order)},
        )
        model = BertForSequenceClassification(config)
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor([5.0 if label == name else 0.0 for label in order]))
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return tokenizer, Asset(str(tmp_path), "path", str(tmp_path))

    return _always


@pytest.mark.parametrize("says", ["contradiction", "entailment"])
def test_a_reversed_head_keeps_its_accuracy_from_data_to_score(always, says):
    truth = ["contradiction"] * 6 + ["neutral"] * 3 + ["entailment"]
    tokenizer, asset = always(DATA[::-1], says)
    settings = Model(name=asset.location)
    plan = plan_labels(DATA, *trained_labels(peek(asset, settings), settings), "auto")
    model = load_classifier(asset, settings, plan, tokenizer, seed=1).eval()
    assert [model.config.id2label[i] for i in range(3)] == DATA[::-1]
    task = ClassificationTask(plan.names, tokenizer, 16)
    rows = [{"premise": "a dog", "hypothesis": f"a cat {i}", "label": name} for i, name in enumerate(truth)]
    data, _ = task.encode(from_rows("t", rows), Columns(text="premise", text_pair="hypothesis"))
    with torch.inference_mode():
        scores = task.score(task.infer(model, task.collate(list(data))), data)
    assert scores.figures["accuracy"] == truth.count(says) / len(truth)
    assert scores.detail["per_class"][says]["recall"] == 1.0
    assert {name: row["support"] for name, row in scores.detail["per_class"].items()} == {
        name: truth.count(name) for name in DATA
    }


def test_named_outputs_make_a_nameless_head_usable(always):
    tokenizer, asset = always(NAMELESS, "LABEL_2")
    settings = Model(name=asset.location, labels=["neutral", "entailment", "contradiction"])
    plan = plan_labels(DATA, *trained_labels(peek(asset, settings), settings), "auto")
    assert plan.names == settings.labels
    model = load_classifier(asset, settings, plan, tokenizer, seed=1)
    assert model.config.id2label[int(model.classifier.bias.argmax())] == "contradiction"


@pytest.mark.parametrize(
    ("teacher", "names"),
    [
        (DATA, DATA),
        (DATA[::-1], DATA[::-1]),
        (["Contradiction", "ENTAILMENT", "neu-tral"], ["contradiction", "entailment", "neutral"]),
    ],
)
def test_a_teachers_outputs_go_by_their_names(teacher, names):
    assert plan_teacher_labels(DATA, teacher, has_head=True, teacher="t") == names
    assert plan_teacher_labels(DATA, teacher, has_head=True, teacher="t", told=True) == names


@pytest.mark.parametrize(
    ("teacher", "has_head", "told", "line"),
    [
        (DATA, False, False, "teacher.name: t has no trained classification head; fine-tune it first (alpha: 0.0)"),
        (
            NAMELESS,
            True,
            False,
            "teacher.name: t does not say what its 3 outputs mean, so their order may differ from the data's "
            "(entailment, neutral, contradiction); set teacher.labels to its order",
        ),
        (
            ["yes", "no"],
            True,
            False,
            "teacher.name: t was trained for yes, no, the data's labels are entailment, neutral, contradiction; "
            "take a teacher of the same labels, or set teacher.labels if only their names differ",
        ),
        (
            ["entailment", "entailment", "neutral"],
            True,
            True,
            "teacher.labels: entailment, entailment, neutral are not the data's labels; name entailment, neutral, "
            "contradiction, each once, in the order of the teacher's outputs",
        ),
    ],
)
def test_a_teacher_whose_outputs_cannot_be_matched(teacher, has_head, told, line):
    with pytest.raises(UserError) as caught:
        plan_teacher_labels(DATA, teacher, has_head=has_head, teacher="t", told=told)
    assert str(caught.value) == line


@pytest.mark.parametrize("names", [["entailment", "entailment", "neutral"], [*DATA, "neutral"], DATA[:2]])
def test_a_name_twice_or_missing_matches_nothing(names):
    assert not plan_labels(DATA, names, has_head=True, head="auto").keep_head
    with pytest.raises(UserError):
        plan_teacher_labels(DATA, names, has_head=True, teacher="t")


@pytest.mark.parametrize("teacher", list(permutations(DATA)))
def test_logits_in_order_stand_in_the_datas_order(teacher):
    """Output c of the reordered teacher is the one that is named like the data's label c."""
    outputs = [f"logit of {name}" for name in teacher]
    order = order_in(DATA, teacher)
    assert (order is None) == (list(teacher) == DATA)
    moved = outputs if order is None else [outputs[place] for place in order]
    assert moved == [f"logit of {name}" for name in DATA]


def test_names_told_by_the_configuration_must_be_as_many_as_the_outputs(always):
    _, asset = always(NAMELESS, "LABEL_0")
    settings = Model(name="some/model", labels=["entailment", "neutral"])
    for section in ("model", "teacher"):
        with pytest.raises(UserError) as caught:
            trained_labels(peek(asset, settings), settings, section)
        assert str(caught.value) == f"{section}.labels names 2 labels, but some/model has 3 outputs"
    untouched = settings.model_copy(update={"head": "new"})
    assert trained_labels(peek(asset, untouched), untouched)[1]
