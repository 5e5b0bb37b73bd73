"""A pickle in every file of a run and of a model directory, and under every name that libraries know: none is opened.

Whoever unpickles one, or imports a module that lies beside it, creates a file that must never appear. The manifest of
a checkpoint is written anew after planting, as one who may write there would do. FORGE_FULL=1 plants plain pickles and
torch's archives everywhere in place of one after the other.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from support import forge, only_run, write_config

from forge.core.manifest import seal, verify

FULL = bool(os.environ.get("FORGE_FULL"))
CLASSIC = (
    "pytorch_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "adapter_model.bin",
    "tokenizer.model",
    "generation_config.json",
    "adapter_config.json",
)
SMALL: dict[str, Any] = {
    "data": {"test": None, "embedded": {"train_size": 32}, "max_length": 32},
    "train": {"max_steps": 2, "batch_size": 8, "micro_batch_size": 8},
    "evaluate": {"every": 1, "max_examples": 8},
}
ROW = {"premise": "a dog runs", "hypothesis": "an animal moves", "label": "entailment"}
PAIR = ("a dog runs", "an animal moves")
REFUSED_OR_DONE = {0, 2, 3}

Plant = Callable[[Path, "Trap"], object]


class _Payload:
    """Creates a file where it is unpickled."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.canary, "w")


class Trap:
    """The payloads, and the file that the first of them to run creates."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary
        archive = io.BytesIO()
        torch.save(_Payload(str(canary)), archive)
        self.payloads = {"pickle": pickle.dumps(_Payload(str(canary))), "archive": archive.getvalue()}
        self.source = f"open({str(canary)!r}, 'w').close()\nclass X: pass\n"
        self.tried = 0
        self.kind = "pickle"

    @property
    def payload(self) -> bytes:
        return self.payloads[self.kind]

    def kinds(self) -> Iterator[str]:
        """Both kinds, or one after the other over the cases."""
        for kind in self.payloads if FULL else [("pickle", "archive")[self.tried % 2]]:
            self.kind = kind
            self.tried += 1
            yield kind

    def sprung(self) -> bool:
        return self.canary.exists()


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def only_pickled(folder: Path, trap: Trap) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(trap.payload)


def indexed(name: str) -> Plant:
    def plant(folder: Path, trap: Trap) -> None:
        only_pickled(folder, trap)
        index = {"metadata": {}, "weight_map": {"classifier.bias": "pytorch_model.bin"}}
        (folder / name).write_text(json.dumps(index))

    return plant


def configured_weights(folder: Path, trap: Trap) -> None:
    changed(folder / "config.json", transformers_weights="adapter_model.bin")
    (folder / "adapter_model.bin").write_bytes(trap.payload)


def adapter(folder: Path, trap: Trap) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "."}')
    (folder / "adapter_model.bin").write_bytes(trap.payload)


def own_code(**more: object) -> Plant:
    def plant(folder: Path, trap: Trap) -> None:
        classes = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
        changed(folder / "config.json", auto_map=dict.fromkeys(classes, "modeling_x.X"), **more)
        (folder / "modeling_x.py").write_text(trap.source)

    return plant


def own_tokenizer(folder: Path, trap: Trap) -> None:
    own = {"auto_map": {"AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"]}, "tokenizer_class": "X"}
    changed(folder / "tokenizer_config.json", **own)
    (folder / "tokenization_x.py").write_text(trap.source)


def own_attention(folder: Path, trap: Trap) -> None:
    (folder / "kernel").mkdir()
    (folder / "kernel/__init__.py").write_text(trap.source)
    kernel = str(folder / "kernel")
    changed(folder / "config.json", _attn_implementation_internal=kernel, _attn_implementation=kernel)


def listed(folder: Path, trap: Trap) -> None:
    (folder / "vocab.bin").write_bytes(trap.payload)
    (folder / "tokenizer_files.json").write_text('["tokenizer.json", "tokenizer_config.json", "vocab.bin"]')


SPECIAL: dict[str, Plant] = {
    "weights only as a pickle": only_pickled,
    "an index of pickles": indexed("model.safetensors.index.json"),
    "a pickled index's index": indexed("pytorch_model.bin.index.json"),
    "weights named in config.json": configured_weights,
    "an adapter": adapter,
    "auto_map": own_code(),
    "auto_map of an unknown type": own_code(model_type="x"),
    "auto_map of a tokenizer": own_tokenizer,
    "an attention kernel": own_attention,
    "a tokenizer's file": listed,
}


def plants(folder: Path) -> dict[str, Plant]:
    """A payload in each file of a folder, under each classic name, and in each special way."""

    def at(name: str) -> Plant:
        return lambda folder, trap: (folder / name).write_bytes(trap.payload)

    names = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    return {name: at(name) for name in [*names, *CLASSIC]} | SPECIAL


@dataclass(frozen=True)
class Scene:
    """A folder that each case finds as it was."""

    folder: Path
    whole: Path

    def restored(self) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.whole, self.folder)
        return self.folder


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    """A trap that is known to work, in a process whose torch.load says that it was called."""
    made = Trap(tmp_path / "canary")
    for name, payload in made.payloads.items():
        path = tmp_path / name
        path.write_bytes(payload)
        if name == "archive":
            torch.load(path, weights_only=False).close()
        else:
            pickle.loads(payload).close()
        assert made.sprung()
        made.canary.unlink()
    exec(made.source)
    assert made.sprung()
    made.canary.unlink()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was called")

    monkeypatch.setattr(torch, "load", never)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, its best checkpoint exported as a model in the hub's format, and a file of data."""
    folder = tmp_path_factory.mktemp("made")
    assert forge("--config", write_config(folder, SMALL)) == 0
    assert forge("export", "--run", only_run(folder), "--checkpoint", "last", "--out", folder / "model") == 0
    (folder / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    shutil.copytree(only_run(folder), folder / "whole")
    return folder


def run_of(made: Path) -> Path:
    """Where the run belongs, also after a case has harmed it."""
    (found,) = (made / "runs/tiny").glob("1-*")
    return found


def verbs(made: Path, run: Path, out: Path) -> dict[str, list[str | Path]]:
    """Every way to use a run's newest checkpoint."""
    which: list[str | Path] = ["--run", run, "--checkpoint", "last"]
    return {
        "predict": ["predict", *which, *PAIR],
        "evaluate": ["evaluate", *which, "--data", made / "rows.jsonl"],
        "export": ["export", *which, "--out", out],
        "resume": ["--config", made / "tiny.yaml"],  # the last: it may write a checkpoint anew
    }


def refused_or_done(trap: Trap, what: str, arguments: list[str | Path]) -> int:
    code = forge(*arguments)
    assert code in REFUSED_OR_DONE, f"{what}: exit {code}"
    assert not trap.sprung(), what
    return code


@pytest.mark.slow
def test_a_checkpoint(made: Path, tmp_path: Path, trap: Trap, capfd: pytest.CaptureFixture[str]) -> None:
    scene = Scene(run_of(made), made / "whole")
    run, codes, number = scene.restored(), [], itertools.count()
    for name, plant in plants(run / "checkpoint-2").items():
        for kind in trap.kinds():
            newest = scene.restored() / "checkpoint-2"
            plant(newest, trap)
            assert verify(newest), f"{name} goes unnoticed"
            if name != "manifest.json":
                (newest / "manifest.json").unlink()
                seal(newest, {"step": 2})
                assert not verify(newest)
            for verb, arguments in verbs(made, run, tmp_path / f"out-{next(number)}").items():
                if verb == "resume":
                    (run / "training_state.json").unlink()
                codes.append(refused_or_done(trap, f"{verb}, {kind} in {name}", arguments))
    told(capfd, f"checkpoint: {trap.tried} plants, {len(codes)} commands, {codes.count(0)} of them went through")


def test_the_other_files_of_a_run(made: Path, tmp_path: Path, trap: Trap, capfd: pytest.CaptureFixture[str]) -> None:
    scene = Scene(run_of(made), made / "whole")
    run, codes, number = scene.restored(), [], itertools.count()
    names = [path.name for path in sorted(run.iterdir()) if path.is_file()]
    assert {"run_metadata.json", "training_state.json", "metrics.jsonl", ".lock"} <= set(names)
    for name in [*names, *CLASSIC]:
        for kind in trap.kinds():
            (scene.restored() / name).write_bytes(trap.payload)
            commands = verbs(made, run, tmp_path / f"out-{next(number)}") | {"runs": ["runs", made / "runs"]}
            for verb, arguments in commands.items():
                if verb == "resume" and name != "training_state.json":
                    (run / "training_state.json").unlink()
                codes.append(refused_or_done(trap, f"{verb}, {kind} in {name}", arguments))
    told(capfd, f"run: {trap.tried} plants, {len(codes)} commands, {codes.count(0)} of them went through")


@pytest.mark.slow
def test_a_student_and_its_teacher(made: Path, tmp_path: Path, trap: Trap, capfd: pytest.CaptureFixture[str]) -> None:
    """Both are harmed, and where the student is refused the teacher alone, so that it is looked at too."""
    student, teacher = Scene(tmp_path / "student", made / "model"), Scene(tmp_path / "teacher", made / "model")
    named = {"model": {"name": str(student.restored())}, "teacher": {"name": str(teacher.restored())}}
    distilled = {"alpha": 0.5, "distill": {"forward_kl": {"weight": 1.0}, "cache": {"mode": "off"}}}
    config = write_config(tmp_path, SMALL | named | distilled | {"train": SMALL["train"] | {"max_steps": 1}})
    assert forge("--config", config) == 0, "unharmed it trains"
    codes = []
    for name, plant in plants(teacher.folder).items():
        for kind in trap.kinds():
            plant(teacher.restored(), trap)
            for harmed in (True, False):
                student.restored()
                if harmed:
                    plant(student.folder, trap)
                shutil.rmtree(tmp_path / "runs", ignore_errors=True)
                what = f"{'both' if harmed else 'teacher'}, {kind} in {name}"
                codes.append(refused_or_done(trap, what, ["--config", config]))
                if codes[-1] == 0:
                    break
    told(capfd, f"models: {trap.tried} plants, {len(codes)} runs, {codes.count(0)} of them went through")


def told(capfd: pytest.CaptureFixture[str], line: str) -> None:
    capfd.readouterr()
    print(f"{line}; no payload ran")
