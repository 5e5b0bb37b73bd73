"""Everything a user can get wrong in a distillation: one line, the right place, what to do; and what must work."""

# ruff: noqa: E501 - a row is a case and what it is told, side by side

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
import transformers as hf
import yaml
from safetensors.torch import load_file, save_file
from support import forge, merged, metrics, only_run, write_config
from tokenizers import Tokenizer

from forge.config import resolve
from forge.config.explain import json_schema
from forge.config.schema import LOSS_NAMES
from forge.core.manifest import MANIFEST, OPTIMIZER_FILE
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.train.loop import Trainer

pytestmark = pytest.mark.usefixtures("no_reports")

NAMES = ["blue", "green", "red"]
OTHERS = ["warm", "cold", "old", "new", "big"]
CYCLE = [2, 0, 1]  # not its own inverse: taking one for the other shows
ARCHITECTURE = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 16,
    "max_position_embeddings": 34,
    "pad_token_id": 0,
}
STUDENT = {"dim": 12, "n_layers": 2, "n_heads": 2, "hidden_dim": 8, "max_position_embeddings": 34, "pad_token_id": 0}
KL = {"distill": {"forward_kl": {"weight": 1.0}}}


def rows(count: int) -> str:
    """The label is the first word: anything that trains learns it at once."""
    made = [
        {"text": f"{NAMES[i % 3]} {OTHERS[i % 5]} {OTHERS[(3 * i) % 5]}", "label": NAMES[i % 3]} for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in made)


def labels(names: list[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Data, tokenizers, untrained models by name, and `trained`, the run of a teacher that makes no mistake."""
    root = tmp_path_factory.mktemp("world")
    for name, count in (("train", 48), ("dev", 30)):
        (root / f"{name}.jsonl").write_text(rows(count))
    tokenizer = build_tokenizer([" ".join(NAMES + OTHERS)], 40)
    another = build_tokenizer(["purple horses run far away", " ".join(NAMES)], 60)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["normalizer"]["lowercase"] = False
    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    cased = hf.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **marks)
    size = {"vocab_size": len(tokenizer)}
    bert = ARCHITECTURE | size
    models: dict[str, tuple[Any, Any]] = {
        "bert": (hf.BertForSequenceClassification, hf.BertConfig(**bert, **labels(NAMES))),
        "student": (hf.DistilBertModel, hf.DistilBertConfig(**STUDENT, **size)),
        "deberta": (hf.DebertaV2ForSequenceClassification, hf.DebertaV2Config(**bert, **labels(NAMES))),
        "deberta-student": (hf.DebertaV2Model, hf.DebertaV2Config(**bert)),
        "llama": (hf.LlamaForSequenceClassification, hf.LlamaConfig(**bert, **labels(NAMES))),
        "bart": (
            hf.BartForSequenceClassification,
            hf.BartConfig(
                **size, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=40,
                pad_token_id=0, eos_token_id=3, **labels(NAMES),
            ),
        ),
        "headless": (hf.BertModel, hf.BertConfig(**bert)),
        "nameless": (hf.BertForSequenceClassification, hf.BertConfig(**bert, num_labels=3)),
        "two": (hf.BertForSequenceClassification, hf.BertConfig(**bert, **labels(NAMES[:2]))),
        "short": (hf.BertForSequenceClassification, hf.BertConfig(**bert | {"max_position_embeddings": 8}, **labels(NAMES))),
        "another": (hf.BertForSequenceClassification, hf.BertConfig(**bert | {"vocab_size": len(another)}, **labels(NAMES))),
        "cased": (hf.BertForSequenceClassification, hf.BertConfig(**bert, **labels(NAMES))),
    }  # fmt: skip
    for name, (model_class, config) in models.items():
        torch.manual_seed(0)
        model_class(config).save_pretrained(root / name)
        {"another": another, "cased": cased}.get(name, tokenizer).save_pretrained(root / name)
    found = SimpleNamespace(root=root, **{name.replace("-", "_"): str(root / name) for name in models})
    change = {"model": {"name": "embedded/tiny-bert"}, "train": {"max_steps": 40}, "alpha": 0.0, "teacher": {}}
    assert forge("--config", settle(found, root / "training", change)) == 0
    found.trained = only_run(root / "training")
    (found.checkpoint,) = found.trained.glob("checkpoint-*")
    return found


def settle(world: SimpleNamespace, folder: Path, change: dict[str, Any], **teacher: Any) -> Path:
    """A distillation from `bert` into `student` in `folder`, or what `change` makes of it."""
    base = {
        "data": {
            "name": None,
            "test": None,
            "train": str(world.root / "train.jsonl"),
            "validation": str(world.root / "dev.jsonl"),
            "max_length": 12,
        },
        "model": {"name": world.student},
        "train": {"max_steps": 2, "learning_rate": 3e-3},
        "evaluate": {"every": None},
        "alpha": 0.5,
    }
    teacher = {"name": world.bert} | teacher if "teacher" not in change else change["teacher"]
    return write_config(folder, merged(base, change | ({"teacher": teacher} if teacher else {})))


@pytest.fixture
def refused(world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """refused(change, …) → the one line that a run is refused with; it leaves no run directory."""

    def _refused(change: dict[str, Any], *words: str, code: int = 2, **teacher: Any) -> str:
        assert forge("--config", settle(world, tmp_path, change, **teacher), *words) == code
        line = capsys.readouterr().err.strip()
        assert line.startswith("forge: ")
        assert "\n" not in line
        assert "Traceback" not in line
        assert "internal error" not in line
        assert len(line) < 700
        assert not (tmp_path / "runs").exists()
        return line.removeprefix("forge: ")

    return _refused


def one(loss: str, **settings: Any) -> dict[str, Any]:
    return {"distill": {loss: {"weight": 1.0, **settings}}}


# --- what is found before torch is imported ---------------------------------------------------------------------------

WRITTEN = [
    ("distill: {forward_kll: {weight: 1}}", ":11  distill.forward_kll is not a setting; did you mean distill.forward_kl?"),
    ("distill: {forward_kl: {weight: 1, temprature: 2}}", ":35  distill.forward_kl.temprature is not a setting; did you mean distill.forward_kl.temperature?"),
    ("distill: {forward_kl: {weight: 1, tau: 2}}", ":35  distill.forward_kl.tau is not a setting; here it is called distill.forward_kl.temperature"),
    ("distill: {jsd: {weight: 1, T: 2}}", ":28  distill.jsd.T is not a setting; here it is called distill.jsd.temperature"),
    ("distill: {forward_kl: {weight: 1, x: 2}}", ":35  distill.forward_kl.x is not a setting; allowed in distill.forward_kl: weight, temperature, standardise"),
    ("distill: {forward_kl: {weight: -1}}", ":32  distill.forward_kl.weight must be at least 0, got -1"),
    ("distill: {forward_kl: {weight: 1, temperature: 0}}", ":48  distill.forward_kl.temperature must be more than 0, got 0"),
    ("distill: {forward_kl: 1}", ":23  distill.forward_kl must be a section, got 1"),
    ("distill: {jsd: {weight: 1, beta: 1.5}}", ":34  distill.jsd.beta must be at most 1, got 1.5"),
    ("distill: {rkd: {weight: 1, group: 2}}", ":35  distill.rkd.group must be at least 3, got 2"),
    ("distill: {hidden_mse: {weight: 1, projection: linear}}", ':47  distill.hidden_mse.projection must be one of auto, shared, always or none, got text "linear"'),
    ("distill: {hidden_mse: {weight: 1, layers: [[1, 2, 3]]}}", ":43  distill.hidden_mse.layers: [1, 2, 3] is not a pair [student layer, teacher layer], counted from 1 (0: embeddings)"),
    ("distill: {hidden_mse: {weight: 1, layers: [[-1, 2]]}}", ":43  distill.hidden_mse.layers: [-1, 2] is not a pair [student layer, teacher layer], counted from 1 (0: embeddings)"),
    ("distill: {hidden_mse: {weight: 1, layers: []}}", ":43  distill.hidden_mse.layers: an empty layer map compares nothing; name pairs, `uniform` or `last`"),
    ("distill: {hidden_mse: {weight: 1, layers: unifrom}}", ':43  distill.hidden_mse.layers must be uniform or last, a list of lists of whole numbers or null, got text "unifrom"; did you mean uniform?'),
    ("distill: {hidden_mse: {weight: 1, layers: 3}}", ":43  distill.hidden_mse.layers must be uniform or last, a list of lists of whole numbers or null, got 3"),
    ("distill: {hidden_mse: {weight: 1, layers: [1]}}", ":44  distill.hidden_mse.layers[0] must be a list of whole numbers, got 1"),
    ("distill: {hidden_mse: {weight: 1, layers: [[a, 2]]}}", ':45  distill.hidden_mse.layers[0][0] must be a whole number, got text "a"'),
    ("distill: {layers: [[1]]}", ":19  distill.layers: [1] is not a pair [student layer, teacher layer], counted from 1 (0: embeddings)"),
    ("distill: {layers: []}", ":19  distill.layers: an empty layer map compares nothing; name pairs, `uniform` or `last`"),
    ("distill: {cache: {mode: always}}", ':25  distill.cache.mode must be one of auto, off, on or require, got text "always"'),
    ("temperature: 2", ":1  temperature is not a setting; it belongs under `distill.forward_kl`, `distill.jsd`, "),
    ("teacher_model: x", ":1  teacher_model is not a setting; here it is called teacher.name"),
    ("teacher_name_or_path: x", ":1  teacher_name_or_path is not a setting; here it is called teacher.name"),
    ("alpha_ce: 0.5", ":1  alpha_ce is not a setting; here it is called distill.forward_kl.weight"),
    ("distill: {tau: 2}", ":11  distill.tau is not a setting; here it is called distill.forward_kl.temperature"),
    ("intermediate_matches: []", ":1  intermediate_matches is not a setting; set distill.layers to pairs [student layer, teacher layer], "),
    ("kd: {}", ":1  kd is not a setting; set alpha above 0, name a model in teacher.name, "),
    ("distillation: {}", ":1  distillation is not a setting; set alpha above 0, name a model in teacher.name, "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRITTEN)
def test_what_is_written_wrong_is_told_with_line_and_column(world, tmp_path, capsys, text, told):
    config = settle(world, tmp_path, {})
    config.write_text(config.read_text() + text + "\n")
    assert forge("--config", config) == 2
    line = capsys.readouterr().err.strip()
    place, _, message = line.partition("tiny.yaml:")
    assert place.startswith("forge: ")
    number = len(config.read_text().splitlines())
    if told.endswith(", "):
        assert message.startswith(f"{number}{told}")
        assert "\n" not in line
    else:
        assert message == f"{number}{told}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("alpha", [1.5, -0.1, True, "half"])
def test_alpha_is_a_share(refused, alpha):
    assert " alpha must be " in refused(KL | {"alpha": alpha})


def test_alpha_without_a_teacher(refused):
    line = refused(KL | {"teacher": {}})
    assert line.endswith(
        "alpha = 0.5 turns distillation on, but teacher.name is not set; name a trained model or a Forge run, or set alpha: 0.0"
    )
    assert "tiny.yaml:" in line
    assert "command line: alpha=0.1  alpha = 0.1" in refused(KL | {"teacher": {}}, "alpha=0.1")


@pytest.mark.parametrize("distill", [{}, {"forward_kl": {"temperature": 3.0}}, {"forward_kl": {"weight": 0}}])
def test_alpha_without_a_loss_lists_the_losses(refused, distill):
    line = refused({"distill": distill})
    assert "no loss of distill has a weight; for example distill.forward_kl.weight: 1.0" in line
    assert all(name in line for name in LOSS_NAMES)


def test_remote_code_needs_a_pinned_commit(refused):
    line = refused(KL, trust_remote_code=True)
    assert "tiny.yaml:" in line
    assert "teacher.trust_remote_code needs teacher.revision" in line


@pytest.mark.parametrize(
    ("labels", "says"),
    [(["red", "red", "blue"], "names a label twice"), (["red"], "needs at least 2 entries"), ([], "at least 2")],
)
def test_labels_that_cannot_be(refused, labels, says):
    line = refused(KL, labels=labels)
    assert "tiny.yaml:" in line
    assert f"teacher.labels {says}" in line or says in line


# --- a teacher that is not there, or is no teacher --------------------------------------------------------------------


def test_a_teacher_that_is_not_there(refused, tmp_path):
    line = refused(KL, name=str(tmp_path / "nowhere"))
    assert "tiny.yaml:" in line
    assert f"teacher.name: no directory {tmp_path / 'nowhere'}" in line
    assert "train the teacher first" in line


def test_a_file_is_no_teacher(refused, world):
    assert "is a file" in refused(KL, name=str(world.root / "dev.jsonl"))


def test_a_run_without_a_checkpoint_yet(refused, tmp_path):
    run = tmp_path / "young"
    run.mkdir()
    (run / "training_state.json").write_text(json.dumps({"status": "running", "best": None, "checkpoint": None}))
    line = refused(KL, name=str(run))
    assert "tiny.yaml:" in line
    assert line.endswith(f"teacher.name: the run {run} has no checkpoint yet")


def test_a_directory_that_holds_no_model(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(KL, name=str(tmp_path / "empty")).startswith("teacher.name: cannot read the config.json of ")


def test_a_damaged_checkpoint_of_a_run(refused, world, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(world.checkpoint, damaged)
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (damaged / "model.safetensors").write_bytes(content)
    line = refused(KL, name=str(damaged), code=3)
    assert line == f"teacher.name: {damaged} is damaged: model.safetensors has changed (sha256 differs)"


def plain(world: SimpleNamespace, folder: Path) -> Path:
    """The trained teacher in hub format, without what a run adds to it."""
    shutil.copytree(world.checkpoint, folder)
    for name in (MANIFEST, OPTIMIZER_FILE):
        (folder / name).unlink()
    return folder


def test_weights_that_cannot_be_read_are_the_teachers(refused, world, tmp_path):
    damaged = plain(world, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    embedded = {"model": {"name": "embedded/tiny-distilbert"}}
    line = refused(KL | embedded, name=str(damaged))
    assert line.startswith(f"teacher.name: cannot read the weights of {damaged}: ")


def test_weights_that_lack_something_are_the_teachers(refused, world, tmp_path):
    folder = plain(world, tmp_path / "lacking")
    content = load_file(folder / "model.safetensors")
    del content["classifier.bias"]
    save_file(content, folder / "model.safetensors")
    embedded = {"model": {"name": "embedded/tiny-distilbert"}}
    line = refused(KL | embedded, name=str(folder))
    assert line == f"teacher.name: the weights of {folder} lack classifier.bias"


def test_a_teacher_without_tokenizer_files(refused, world, tmp_path):
    folder = plain(world, tmp_path / "mute")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    line = refused(KL, name=str(folder))
    assert line == f"teacher.name: {folder} has no tokenizer files; put them there"


def test_a_teacher_without_tokenizer_files_and_an_embedded_student(refused, world, tmp_path):
    folder = plain(world, tmp_path / "mute")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    embedded = {"model": {"name": "embedded/tiny-distilbert"}}
    assert refused(KL | embedded, name=str(folder)).startswith("teacher.name: ")


def test_a_teacher_that_reads_less_than_the_student(refused, world):
    line = refused(KL, name=world.short)
    assert line == "data.max_length is 12, but the teacher reads at most 8 tokens"


# --- what its outputs mean --------------------------------------------------------------------------------------------


def test_a_teacher_without_a_head(refused, world):
    line = refused(KL, name=world.headless)
    assert line == f"teacher.name: {world.headless} has no trained classification head; fine-tune it first (alpha: 0.0)"


def test_a_teacher_with_nameless_outputs_needs_their_names(refused, world):
    line = refused(KL, name=world.nameless)
    assert "does not say what its 3 outputs mean" in line
    assert "blue, green, red" in line
    assert "set teacher.labels" in line


def test_names_make_a_nameless_teacher_usable(world, tmp_path):
    change = KL | {"teacher": {"name": world.nameless, "labels": ["red", "blue", "green"]}}
    assert forge("--config", settle(world, tmp_path, change)) == 0


def test_names_that_are_not_the_datas(refused, world):
    line = refused(KL, name=world.nameless, labels=["a", "b", "c"])
    assert line == (
        "teacher.labels: a, b, c are not the data's labels; name blue, green, red, each once, "
        "in the order of the teacher's outputs"
    )


def test_a_teacher_of_another_number_of_labels(refused, world):
    line = refused(KL, name=world.two)
    assert line.startswith(
        f"teacher.name: {world.two} was trained for blue, green, the data's labels are blue, green, red"
    )
    line = refused(KL, name=world.two, labels=NAMES)
    assert line == f"teacher.labels names 3 labels, but {world.two} has 2 outputs"
    line = refused(KL, name=world.nameless, labels=NAMES[:2])
    assert line == f"teacher.labels names 2 labels, but {world.nameless} has 3 outputs"


def relabelled(world: SimpleNamespace, folder: Path, names: list[str], order: list[int] | None = None) -> Path:
    """The trained teacher with these names in its config, its head's rows in that order."""
    plain(world, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    if order:
        weights = load_file(folder / "model.safetensors")
        for name in ("classifier.weight", "classifier.bias"):
            weights[name] = weights[name][order].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_teacher_in_another_order_teaches_the_same(world, tmp_path):
    moved = relabelled(world, tmp_path / "moved", [NAMES[i] for i in CYCLE], CYCLE)
    told = {}
    for name, teacher, mode in (("a", world.checkpoint, "off"), ("b", moved, "off"), ("c", moved, "on")):
        change = merged(KL, {"distill": {"cache": {"mode": mode}}, "train": {"max_steps": 4}})
        change["teacher"] = {"name": str(teacher)}
        change |= {"model": {"name": "embedded/tiny-distilbert"}}
        assert forge("--config", settle(world, tmp_path / name, change)) == 0
        run = only_run(tmp_path / name)
        told[name] = [
            {key: record[key] for key in ("loss", "task", "forward_kl", "grad_norm")}
            for record in metrics(run)
            if record["kind"] == "step"
        ]
        assert "on validation:  accuracy 1.0000" in (run / "output.log").read_text()
    assert len(told["a"]) == 4
    for other in ("b", "c"):
        for mine, its in zip(told["a"], told[other], strict=True):
            assert mine == pytest.approx(its, rel=1e-5)


@pytest.mark.parametrize("order", [None, [1, 0, 2]], ids=["head as trained", "head moved too"])
def test_a_teacher_whose_names_lie_is_refused_and_told_the_right_order(refused, world, tmp_path, order):
    wrong = [NAMES[i] for i in CYCLE]
    right = [NAMES[i] for i in order or range(3)]
    lying = relabelled(world, tmp_path / "lying", wrong, order)
    embedded = {"model": {"name": "embedded/tiny-distilbert"}}
    line = refused(KL | embedded, name=str(lying))
    assert line.startswith(
        f"teacher.labels: the outputs of {lying} are not in the order {', '.join(wrong)}: accuracy 0."
    )
    assert line.endswith(f"but 1.000 as {', '.join(right)}; set teacher.labels: [{', '.join(right)}]")
    taken = KL | embedded | {"teacher": {"name": str(lying), "labels": right}}
    assert forge("--config", settle(world, tmp_path / "told", taken)) == 0


def test_a_refused_teacher_leaves_no_run_directory(refused):
    refused(KL, min_accuracy=0.99)


def test_a_teacher_that_is_not_good_enough(refused, world, tmp_path):
    line = refused(KL, min_accuracy=0.99)
    assert line.startswith(f"teacher.min_accuracy: {world.bert} reaches 0.")
    assert line.endswith("on validation, less than 0.99")
    good = KL | {"model": {"name": "embedded/tiny-distilbert"}, "train": {"max_steps": 1}}
    good |= {"teacher": {"name": str(world.trained), "min_accuracy": 0.99}}
    assert forge("--config", settle(world, tmp_path / "good", good)) == 0


# --- layers, widths, families -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (one("hidden_mse", layers=[[3, 1]]), "distill.hidden_mse.layers: [3, 1] names layer 3 of the student, but it has 0 (the embeddings) to 2"),
        (one("cosine", layers=[[1, 1], [1, 5]]), "distill.cosine.layers: [1, 5] names layer 5 of the teacher, but it has 0 (the embeddings) to 4"),
        (merged(one("linear_cka", group=8), {"distill": {"layers": [[1, 5]]}}), "distill.layers: [1, 5] names layer 5 of the teacher, but it has 0 (the embeddings) to 4"),
        (one("score_mse", layers=[[0, 1]]), "distill.score_mse.layers: [0, 1] names layer 0 of the student, but its attention is in layers 1 to 2"),
        (one("attention_kl", layers=[[1, 0]]), "distill.attention_kl.layers: [1, 0] names layer 0 of the teacher, but its attention is in layers 1 to 4"),
        (merged(one("score_mse"), {"distill": {"layers": [[0, 0]]}}), "distill.layers: [0, 0] names layer 0 of the student, but its attention is in layers 1 to 2"),
        (one("self_relation", relation_heads=5), "distill.self_relation.relation_heads: 5 does not divide the widths 12, 16; 1, 2, 4 do"),
        (one("attention_kl", value_relation=True, relation_heads=3), "distill.attention_kl.relation_heads: 3 does not divide the widths 12, 16; 1, 2, 4 do"),
        (one("hidden_mse", projection="none"), "distill.hidden_mse.projection: none, but the student is 12 wide and the teacher 16; take auto"),
        (one("linear_cka", group=3), "distill.linear_cka.group: groups of 3 examples do not fit into micro-batches of 8; take a divisor of 8"),
        (one("rkd", group=16), "distill.rkd.group: groups of 16 examples do not fit into micro-batches of 8; take a divisor of 8"),
    ],
)  # fmt: skip
def test_what_the_two_models_do_not_have(refused, change, line):
    assert refused(change) == line


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize("loss", ["hidden_mse", "linear_cka", "score_mse", "self_relation"])
def test_an_architecture_without_known_layers_is_refused_for_what_needs_them(refused, world, side, loss):
    change = one(loss) | ({"model": {"name": world.deberta_student}} if side == "student" else {})
    line = refused(change, name=world.deberta if side == "teacher" else world.bert)
    assert line.startswith(
        f"distill.{loss}: the {side}'s architecture 'deberta-v2' (DebertaV2ForSequenceClassification) is"
    )
    assert line.endswith("response losses work with any model")


def test_an_architecture_without_known_layers_can_be_compared_by_its_answers(world, tmp_path):
    change = KL | {"model": {"name": world.deberta_student}, "teacher": {"name": world.deberta}}
    assert forge("--config", settle(world, tmp_path, change)) == 0


@pytest.mark.parametrize("loss", ["hidden_mse", "score_mse"])
def test_an_encoder_cannot_take_after_the_layers_of_a_decoder(refused, world, loss):
    assert refused(one(loss), name=world.llama) == (
        f"distill.{loss}: the student's layers are those of its encoder, the teacher's those of its decoder, which "
        "cannot be compared; leave feature and attention losses out"
    )


@pytest.mark.parametrize(
    ("name", "chosen", "line"),
    [
        ("bert", [2, 5], "model.keep_layers: asks for layer 5 of a model that has 4"),
        ("bert", [2, 2], "model.keep_layers names a layer twice"),
        ("bert", [0, 2], "model.keep_layers[0] must be at least 1, got 0"),
        ("bert", [], "model.keep_layers needs at least 1 entries, got 0"),
        ("bart", [1], "model.keep_layers: BartForSequenceClassification has layers in its encoder and its decoder"),
        ("deberta", [1], "model.keep_layers: the blocks of DebertaV2ForSequenceClassification are not known"),
    ],
)
def test_layers_that_cannot_be_kept(refused, world, name, chosen, line):
    change = {"alpha": 0.0, "teacher": {}, "model": {"name": getattr(world, name), "keep_layers": chosen}}
    found = refused(change)
    assert line in found
    assert ("tiny.yaml:" in found) == (chosen in ([2, 2], [0, 2], []))


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_another_vocabulary(refused, world):
    line = refused(KL, name=world.another)
    assert line.startswith(f"teacher.name: {world.another} has another tokenizer than the student (40 and 60 tokens, ")
    assert line.endswith("or set teacher.tokenizer: own and use response losses only")


def test_the_same_vocabulary_read_otherwise(refused, world):
    """Lower case or not: the tokens have the same numbers, and the teacher would read [UNK] where the text has Red."""
    line = refused(KL, name=world.cased)
    assert "(the same tokens, but they cut '" in line
    assert "teacher.tokenizer: own" in line


def test_a_teacher_with_its_own_tokenizer(refused, world, tmp_path):
    own = {"name": world.another, "tokenizer": "own"}
    line = refused(one("hidden_mse") | {"teacher": own})
    assert line.startswith("teacher.tokenizer: own, so teacher and student read different tokens")
    line = refused(merged(KL, {"distill": {"cache": {"mode": "off"}}}) | {"teacher": own})
    assert line.startswith("distill.cache.mode: off, but teacher.tokenizer: own")
    assert line.endswith("take mode: auto")
    assert forge("--config", settle(world, tmp_path / "own", KL | {"teacher": own})) == 0
    assert "no teacher runs in training" in (only_run(tmp_path / "own") / "output.log").read_text()


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_cache_that_must_be_there_is_not(refused, world, tmp_path):
    line = refused(merged(KL, {"distill": {"cache": {"mode": "require"}}}))
    assert line.startswith(
        f"distill.cache.mode: require, but the cache of {world.bert} cannot be used: there is none in "
    )
    assert line.endswith("fill it with `forge.py prepare --config …` where the teacher is")
    change = merged(KL, {"distill": {"cache": {"mode": "require", "dir": str(tmp_path / "cache")}}})
    config = settle(world, tmp_path, change)
    assert forge("prepare", "--config", config) == 0
    assert forge("--config", config) == 0


def test_a_stale_cache_says_what_differs(refused, world, tmp_path):
    teacher = tmp_path / "teacher"
    shutil.copytree(world.bert, teacher)
    shared = {"distill": {"cache": {"mode": "on", "dir": str(tmp_path / "cache")}}, "teacher": {"name": str(teacher)}}
    require = merged(merged(KL, shared), {"distill": {"cache": {"mode": "require"}}})
    assert forge("--config", settle(world, tmp_path / "filled", merged(KL, shared))) == 0
    assert forge("--config", settle(world, tmp_path / "read", require)) == 0

    def difference(change: dict[str, Any]) -> str:
        return refused(merged(require, change)).partition(" was made with ")[2].partition(";")[0]

    assert difference({"data": {"max_length": 11}}).endswith("max_length 12 instead of 11")
    assert difference({"distill": {"cache": {"dtype": "fp32"}}}) == "dtype fp16 instead of fp32"
    weights = load_file(teacher / "model.safetensors")
    weights["classifier.bias"] += 1.0
    save_file(weights, teacher / "model.safetensors", metadata={"format": "pt"})
    assert difference({}) == "other teacher weights"


class CutError(Exception):
    """The power fails."""


def test_a_run_does_not_go_on_with_another_teacher(refused, world, tmp_path, monkeypatch):
    teacher = tmp_path / "teacher"
    shutil.copytree(world.bert, teacher)
    change = KL | {"checkpoint": {"every": 1}, "teacher": {"name": str(teacher)}}
    save = Trainer._save

    def cut(trainer: Trainer, best: bool) -> None:
        save(trainer, best)
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", cut)
        assert forge("--config", settle(world, tmp_path, change)) == 1
    weights = load_file(teacher / "model.safetensors")
    changed = {name: tensor + 0.1 for name, tensor in weights.items()}
    save_file(changed, teacher / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.undo()
    assert forge("--config", tmp_path / "tiny.yaml") == 3
    save_file(weights, teacher / "model.safetensors", metadata={"format": "pt"})
    assert forge("--config", tmp_path / "tiny.yaml") == 0


# --- what has no effect, and what is shown ----------------------------------------------------------------------------


def test_settings_of_distillation_without_distillation_are_a_warning(world, tmp_path, capsys):
    change = merged(KL, {"alpha": 0.0, "train": {"max_steps": 1}, "teacher": {"name": "/no/such/teacher"}})
    config = settle(world, tmp_path, change)
    assert forge("config", "validate", "--config", config) == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warning.endswith("teacher.name and 1 more has no effect, because alpha is 0.0")
    assert "tiny.yaml:" in warning
    assert forge("--config", config) == 0
    log = (only_run(tmp_path) / "output.log").read_text()
    assert "teacher.name and 1 more has no effect, because alpha is 0.0" in log


def test_a_setting_of_a_loss_that_takes_no_part_is_a_warning(world, tmp_path, capsys):
    change = merged(KL, {"distill": {"jsd": {"beta": 0.1}, "cosine": {"weight": 0}}})
    config = settle(world, tmp_path, change)
    assert forge("config", "validate", "--config", config) == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warning.endswith("distill.jsd.beta has no effect, because its loss has weight 0")


def test_a_distillation_that_is_right_has_no_warning(world, tmp_path, capsys):
    assert forge("config", "validate", "--config", settle(world, tmp_path, KL)) == 0
    out = capsys.readouterr().out
    assert "kd, because alpha = 0.5 (" in out
    assert "warning" not in out


def test_what_is_shown_makes_the_same_run(world, tmp_path, capsys):
    change = one("hidden_mse", layers=[[1, 2], [2, 4]], projection="shared")
    change = merged(
        change, {"distill": {"layers": "last", "cache": {"mode": "off"}, "topk_kl": {"weight": 0.5, "k": 3}}}
    )
    config = settle(world, tmp_path, change, labels=NAMES, min_accuracy=0.0)
    for flags in ([], ["--changed"], ["--changed", "--sources"]):
        assert forge("config", "show", "--config", config, *flags) == 0
        again = tmp_path / f"again{len(flags)}.yaml"
        again.write_text(capsys.readouterr().out)
        assert resolve(again).settings == resolve(config).settings
        assert resolve(again).digest() == resolve(config).digest()
    assert resolve(tmp_path / "again1.yaml").changed()["distill"] == {
        "layers": "last",
        "cache": {"mode": "off"},
        "hidden_mse": {"weight": 1.0, "layers": [[1, 2], [2, 4]], "projection": "shared"},
        "topk_kl": {"weight": 0.5, "k": 3},
    }


def test_keys_of_distillation_are_explained(world, tmp_path, capsys):
    config = settle(world, tmp_path, merged(KL, {"distill": {"forward_kl": {"temperature": 4.0}}}))
    assert forge("config", "explain", "distill.forward_kl.temperature", "--config", config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "distill.forward_kl.temperature"
    assert "  type:     a number, more than 0, at most 1,000" in lines
    assert "  default:  2.0" in lines
    assert "  value:    4.0" in lines
    assert "tiny.yaml:" in lines[-1]
    assert forge("config", "explain", "distill.hidden_mse.layers") == 0
    out = capsys.readouterr().out
    assert "  type:     uniform or last, a list of lists of whole numbers or null" in out
    assert "list[" not in out
    assert forge("config", "explain", "distill") == 0
    out = capsys.readouterr().out
    assert all(f"    {name} " in out for name in LOSS_NAMES)


def test_two_distillations_are_compared(world, tmp_path, capsys):
    one_ = settle(world, tmp_path / "one", KL)
    two = settle(world, tmp_path / "two", merged(KL, {"distill": {"layers": [[1, 1]], "forward_kl": {"weight": 2.0}}}))
    assert forge("config", "diff", one_, two) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0::3] == ["distill.layers", "distill.forward_kl.weight", "run.dir"]
    assert lines[1].startswith("  - uniform  (default)")
    assert lines[2].startswith("  + [[1, 1]]  (")


def test_the_schema_knows_a_distillation(world, tmp_path, capsys):
    assert forge("config", "schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json_schema()
    good = yaml.safe_load(settle(world, tmp_path, one("hidden_mse", layers=[[1, 2]])).read_text())
    jsonschema.validate(good, schema)
    for bad in ({"forward_kll": {}}, {"hidden_mse": {"layers": "first"}}, {"forward_kl": {"temperature": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(merged(good, {"distill": bad}), schema)
