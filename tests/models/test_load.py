"""Models from directories: what is kept, what is drawn anew, what is refused."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    RobertaConfig,
    RobertaForMaskedLM,
    XLNetConfig,
)

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.load import check_length, load_classifier, load_tokenizer, peek, trained_labels
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.tasks.labels import LabelPlan, plan_labels

NAMES = ["entailment", "neutral", "contradiction"]
NEW, KEEP = LabelPlan(NAMES, keep_head=False), LabelPlan(NAMES, keep_head=True)
TOKENIZER = build_tokenizer(["a dog runs in the park", "a cat sleeps at home"], 60)
SIZE = len(TOKENIZER)
BERT = {
    "vocab_size": SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 34,
}
DISTILBERT = {"vocab_size": SIZE, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 8}
ARCHITECTURES = {
    "bert": (BertModel, BertConfig(**BERT)),
    "bert-without-pooler": (BertForMaskedLM, BertConfig(**BERT)),
    "distilbert": (
        DistilBertForMaskedLM,
        DistilBertConfig(vocab_size=SIZE, dim=16, n_layers=2, n_heads=2, hidden_dim=8),
    ),
    "roberta": (RobertaForMaskedLM, RobertaConfig(**BERT)),
    "minilm": (BertModel, BertConfig(**BERT | {"hidden_size": 24, "num_attention_heads": 12})),
    "gpt2": (GPT2Model, GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=32)),
}


def _labels(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


@pytest.fixture
def put(tmp_path):
    """put(model class, config) → a model directory with a tokenizer."""

    def _put(model_class, config, name="m"):
        torch.manual_seed(0)
        folder = tmp_path / name
        model_class(config).save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
        return Asset(str(folder), "path", str(folder))

    return _put


@pytest.fixture
def trained(put):
    """A BERT with a trained head."""
    return put(BertForSequenceClassification, BertConfig(**BERT, **_labels(NAMES)))


def _load(asset, plan=NEW, seed=1, **settings):
    return load_classifier(asset, Model(name=asset.location, **settings), plan, TOKENIZER, seed)


def _refused(call, *arguments, **named):
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_encoder_gets_a_new_head_that_depends_on_the_seed_alone(put, name):
    asset = put(*ARCHITECTURES[name])
    torch.manual_seed(1234)
    first = _load(asset, seed=1)
    torch.manual_seed(99)  # what was drawn before must not matter
    again, other = _load(asset, seed=1), _load(asset, seed=2)
    assert first.config.id2label == dict(enumerate(NAMES))
    assert first.config.label2id == {label: i for i, label in enumerate(NAMES)}
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}
    assert _same(first.state_dict(), again.state_dict())
    fresh = [key for key, value in first.state_dict().items() if not torch.equal(value, other.state_dict()[key])]
    assert fresh
    stored = load_file(f"{asset.location}/model.safetensors")
    prefix = first.base_model_prefix + "."
    known = {key.removeprefix(prefix) for key in stored}
    assert not [key for key in fresh if key.removeprefix(prefix) in known]
    for key, value in stored.items():
        full = prefix + key.removeprefix(prefix)
        if full in first.state_dict():
            assert torch.equal(first.state_dict()[full], value), key
    assert sum(prefix + key.removeprefix(prefix) in first.state_dict() for key in stored) >= 20


def test_a_trained_head_is_kept(trained):
    config = peek(trained, Model(name="x"))
    assert trained_labels(config, Model(name="x")) == (NAMES, True)
    model = _load(trained, KEEP)
    assert _same(model.state_dict(), BertForSequenceClassification.from_pretrained(trained.location).state_dict())
    assert _same(model.state_dict(), _load(trained, KEEP, seed=7).state_dict())


def test_a_plan_in_the_models_order_moves_nothing(put):
    asset = put(BertForSequenceClassification, BertConfig(**BERT, **_labels(NAMES[::-1])))
    settings = Model(name=asset.location)
    plan = plan_labels(NAMES, *trained_labels(peek(asset, settings), settings), "auto")
    model = _load(asset, plan)
    assert [model.config.id2label[i] for i in range(3)] == NAMES[::-1]
    stored = load_file(f"{asset.location}/model.safetensors")
    assert torch.equal(model.classifier.weight, stored["classifier.weight"])


def test_a_head_for_another_number_of_labels_gives_way(put):
    asset = put(BertForSequenceClassification, BertConfig(**BERT, **_labels(["yes", "no"])))
    settings = Model(name=asset.location)
    plan = plan_labels(NAMES, *trained_labels(peek(asset, settings), settings), "auto")
    assert not plan.keep_head
    assert _load(asset, plan).classifier.weight.shape == (3, 16)


def test_a_nameless_head_is_refused(put):
    asset = put(BertForSequenceClassification, BertConfig(**BERT, num_labels=3))
    settings = Model(name=asset.location)
    labels = trained_labels(peek(asset, settings), settings)
    assert "does not say what its 3 labels mean" in _refused(plan_labels, NAMES, *labels, "auto")
    named = Model(name=asset.location, labels=NAMES[::-1])
    assert trained_labels(peek(asset, named), named) == (NAMES[::-1], True)


def test_a_new_head_really_is_new(trained):
    kept, new = _load(trained, KEEP), _load(trained, NEW)
    assert not torch.equal(kept.classifier.weight, new.classifier.weight)
    assert _same(kept.bert.state_dict(), new.bert.state_dict())


@pytest.mark.parametrize("plan", [NEW, KEEP])
def test_random_takes_the_architecture_alone(trained, plan):
    random = _load(trained, plan, init="random")
    assert trained_labels(peek(trained, Model(name="x")), Model(name="x", init="random"))[1] is False
    stored = load_file(f"{trained.location}/model.safetensors")
    drawn = [key for key, value in random.state_dict().items() if key in stored and value.ndim == 2]
    assert len(drawn) > 10
    assert not [key for key in drawn if torch.equal(random.state_dict()[key], stored[key])]
    assert _same(random.state_dict(), _load(trained, plan, init="random").state_dict())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("init", ["pretrained", "random"])
def test_dropout_replaces_every_probability(put, name, init):
    asset = put(*ARCHITECTURES[name])
    chosen = {
        module_name: module.p
        for module_name, module in _load(asset, init=init, dropout=0.25).named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    assert len(chosen) >= 3
    assert set(chosen.values()) == {0.25}


def test_dropout_also_replaces_whole_numbers_in_a_config(put):
    asset = put(BertModel, BertConfig(**BERT))
    _change(asset, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    model = _load(asset, dropout=0.25)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}


def test_without_dropout_the_models_own_stays(put):
    config = BertConfig(**BERT, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2, classifier_dropout=0.4)
    model = _load(put(BertModel, config))
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.2, 0.3, 0.4}


@pytest.mark.parametrize(
    ("name", "longest"), [("bert", 34), ("distilbert", 512), ("roberta", 32), ("gpt2", 32), ("minilm", 34)]
)
def test_the_longest_input_is_what_the_model_can_read(name, longest):
    config = deepcopy(ARCHITECTURES[name][1])
    config.pad_token_id = config.pad_token_id or 0
    model = AutoModelForSequenceClassification.from_config(config).eval()
    check_length(model, longest)
    assert _refused(check_length, model, longest + 1) == (
        f"data.max_length is {longest + 1}, but the model reads at most {longest} tokens"
    )
    ids = torch.full((1, longest), 7)
    with torch.inference_mode():
        assert torch.isfinite(model(input_ids=ids).logits).all()


def test_a_model_without_a_limit_has_none():
    class Net:
        config = XLNetConfig(vocab_size=8, d_model=8, n_layer=1, n_head=1, d_inner=8)

    check_length(Net(), 100_000)


# What is refused


def _break(asset, name, content):
    Path(asset.location, name).write_bytes(content)


@pytest.mark.parametrize("content", [None, b"", b"{oops", b"[1]", b"{}", b'{"model_type": "no-such"}', b"\xff\xfe"])
def test_a_directory_without_a_readable_config(trained, content):
    if content is None:
        Path(trained.location, "config.json").unlink()
    else:
        _break(trained, "config.json", content)
    message = _refused(peek, trained, Model(name="x"))
    assert message.startswith(f"model.name: cannot read the config.json of {trained.location}: ")


def _change(asset, **values):
    config = json.loads(Path(asset.location, "config.json").read_text()) | values
    _break(asset, "config.json", json.dumps(config).encode())


@pytest.mark.parametrize("plan", [NEW, KEEP])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 32}, "cannot read the weights of"),
        ({"vocab_size": SIZE + 1}, "cannot read the weights of"),
        ({"num_hidden_layers": 3}, "lack "),
        ({"hidden_size": "16"}, "cannot read the config.json of"),
        ({"num_attention_heads": 5}, "cannot read the "),
    ],
)
def test_a_config_that_does_not_fit_the_weights(trained, plan, values, message):
    """None of it may end in a model that is partly random."""
    _change(trained, **values)
    assert message in _refused(_load, trained, plan)


def test_a_model_that_cannot_classify_text(put):
    asset = put(BertModel, BertConfig(**BERT))
    _break(asset, "config.json", b'{"model_type": "vit"}')
    assert "Unrecognized configuration class" in _refused(_load, asset)


def test_a_head_that_the_file_lacks_is_not_kept(trained):
    stored = load_file(f"{trained.location}/model.safetensors")
    save_file({k: v for k, v in stored.items() if k != "classifier.bias"}, f"{trained.location}/model.safetensors")
    assert _refused(_load, trained, KEEP).endswith("lack classifier.bias")
    assert _load(trained, NEW)
    save_file({k: v for k, v in stored.items() if "pooler" not in k}, f"{trained.location}/model.safetensors")
    assert _refused(_load, trained, KEEP).endswith("lack bert.pooler.dense.bias and 1 more")


@pytest.mark.parametrize("plan", [NEW, KEEP])
@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_truncated_weights(trained, plan, keep):
    content = Path(trained.location, "model.safetensors").read_bytes()
    _break(trained, "model.safetensors", content[:keep])
    assert _refused(_load, trained, plan).startswith(f"model.name: cannot read the weights of {trained.location}: ")


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("plan", [NEW, KEEP])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5", None])
def test_a_pickle_is_never_opened(trained, tmp_path, plan, name):
    mark = tmp_path / "executed"
    bomb = pickle.dumps(_Bomb(str(mark)))
    pickle.loads(bomb).close()
    assert mark.exists(), "the bomb works"
    mark.unlink()
    Path(trained.location, "model.safetensors").unlink()
    if name:
        _break(trained, name, bomb)
    assert _refused(_load, trained, plan).startswith(f"model.name: cannot read the weights of {trained.location}: ")
    assert not mark.exists()


# Tokenizers


def test_a_tokenizer_from_the_models_directory(trained):
    tokenizer = load_tokenizer(trained, Model(name="x"), [])
    assert tokenizer("a dog")["input_ids"] == TOKENIZER("a dog")["input_ids"]


def test_another_tokenizer(trained, tmp_path):
    other = build_tokenizer(["zebra"], 30)
    other.save_pretrained(tmp_path / "other")
    settings = Model(name="x", tokenizer=str(tmp_path / "other"))
    assert load_tokenizer(trained, settings, []).get_vocab() == other.get_vocab()


@pytest.mark.parametrize("files", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
def test_missing_tokenizer_files_never_become_an_empty_tokenizer(trained, files):
    """transformers makes one that reads every word as [UNK]."""
    for name in files:
        Path(trained.location, name).unlink()
    message = _refused(load_tokenizer, trained, Model(name="x"), [])
    assert message.startswith(f"model.name: {trained.location} has no tokenizer files; ")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_tokenizer_files(trained, name):
    _break(trained, name, b"{oops")
    message = _refused(load_tokenizer, trained, Model(name="x"), [])
    assert message.startswith(f"model.name: cannot read the tokenizer of {trained.location}: ")
    other = _refused(load_tokenizer, trained, Model(name="x", tokenizer=trained.location), [])
    assert other.startswith(f"model.tokenizer: cannot read the tokenizer of {trained.location}: ")


def test_a_tokenizer_without_padding_pads_with_its_end(put, tmp_path):
    from transformers import PreTrainedTokenizerFast

    asset = put(*ARCHITECTURES["gpt2"])
    bare = {"tokenizer_object": TOKENIZER.backend_tokenizer}
    PreTrainedTokenizerFast(**bare, eos_token="[SEP]").save_pretrained(asset.location)
    tokenizer = load_tokenizer(asset, Model(name="x"), [])
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[SEP]", TOKENIZER.sep_token_id)
    model = load_classifier(asset, Model(name="x"), NEW, tokenizer, seed=1).eval()
    assert model.config.pad_token_id == TOKENIZER.sep_token_id
    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([[7, 8]])).logits
        padded = model(
            input_ids=torch.tensor([[7, 8, 3, 3], [7, 8, 9, 9]]), attention_mask=torch.tensor([[1, 1, 0, 0]] * 2)
        )
    torch.testing.assert_close(padded.logits[0], alone[0])
    PreTrainedTokenizerFast(**bare).save_pretrained(tmp_path / "none")
    settings = Model(name="x", tokenizer=str(tmp_path / "none"))
    assert _refused(load_tokenizer, asset, settings, []).endswith("none has no padding token")


def test_an_unknown_embedded_model():
    message = _refused(peek, Asset("embedded/huge", "embedded", "embedded/huge"), Model(name="embedded/huge"))
    assert message == (
        "model.name: there is no embedded/huge; embedded are embedded/tiny-bert, embedded/tiny-distilbert"
    )


def test_an_embedded_model_fits_its_tokenizer_and_labels():
    asset = Asset("embedded/tiny-distilbert", "embedded", "embedded/tiny-distilbert")
    settings = Model(name=asset.location)
    assert peek(asset, settings) is None
    assert trained_labels(None, settings) == ([], False)
    tokenizer = load_tokenizer(asset, settings, ["a dog runs", "a cat"])
    model = load_classifier(asset, settings, NEW, tokenizer, seed=1)
    assert (model.config.vocab_size, model.config.num_labels) == (len(tokenizer), 3)
    assert _same(model.state_dict(), load_classifier(asset, settings, NEW, tokenizer, seed=1).state_dict())


def test_the_base_class_of_distilbert_has_the_same_encoder(put):
    config = ARCHITECTURES["distilbert"][1]
    model = _load(put(DistilBertModel, config))
    assert model.pre_classifier.weight.shape == (16, 16)
