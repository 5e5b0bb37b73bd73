"""Label order: names decide, never positions. The proof is a model that would score nothing if positions did."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from forge.config.schema import Columns, Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.load import load_classifier, peek, trained_labels
from forge.tasks.classification import ClassificationTask
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.tasks.labels import LabelPlan, plan_labels
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
