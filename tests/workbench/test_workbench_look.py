"""From real small runs of every task to findings on disk: what is compared, on which rows, and what is said of it."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_reading
import toy_translation
from PIL import Image
from safetensors.numpy import load_file
from support import merged, trained

from forge.core.errors import UserError
from forge.workbench.asked import Asked
from forge.workbench.course import look
from forge.workbench.findings import Findings, Overlap, read_findings
from forge.workbench.report import render, write_report
from forge.workbench.row_files import Representations
from forge.workbench.views.ocr import blocks_of

pytestmark = pytest.mark.usefixtures("no_reports", "one_thread")

KL = {"alpha": 0.5, "distill": {"forward_kl": {"weight": 1.0}}}


def taught_by(teacher: Path, change: dict[str, Any]) -> dict[str, Any]:
    return merged(change, merged(KL, {"teacher": {"name": str(teacher)}}))


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A teacher, a student of it, and the same student on the labels alone."""
    folder = tmp_path_factory.mktemp("classifiers")
    teacher = trained(folder / "teacher", {"model": {"name": "embedded/tiny-bert"}, "train": {"max_steps": 40}})
    student = trained(folder / "student", taught_by(teacher, {"train": {"max_steps": 20}}))
    return {"teacher": teacher, "student": student, "baseline": trained(folder / "baseline", {})}


@pytest.fixture(scope="module")
def seen(classifiers: dict[str, Path]) -> Findings:
    asked = Asked([str(classifiers["student"])], baseline=str(classifiers["baseline"]), rows=150)
    return look(asked, lambda _: None)[0]


def test_a_student_beside_its_teacher_and_a_baseline(seen: Findings) -> None:
    roles = {one.key: one.role for one in seen.subjects}
    assert roles == {
        "teacher": "teacher", "student": "student", "baseline": "baseline", "random_init": "random_init",
    }  # fmt: skip
    assert (seen.rows.task, seen.rows.split, seen.rows.used, seen.rows.of) == ("classification", "test", 150, 2000)
    assert {(one.reference, one.other) for one in seen.alignment} == {
        ("teacher", "student"), ("teacher", "baseline"), ("teacher", "random_init"),
    }  # fmt: skip
    assert {(one.model, one.than) for one in seen.nearer} == {("student", "baseline"), ("student", "random_init")}
    assert [one.label for one in seen.probing] == ["class", "length"]
    assert [one.of_task for one in seen.probing] == [True, False]
    assert all(len(one.curves) == 4 and one.bag_of_words for one in seen.probing[:1])
    point = seen.probing[0].curves[0].layers[-1]
    assert point.selectivity
    assert point.selectivity.interval
    assert point.compression
    assert {one.other for one in seen.disagreement.classes} == {"student", "baseline", "random_init"}
    assert [(one.model, one.than) for one in seen.disagreement.compared] == [("student", "baseline")]
    assert {one.model for one in seen.disagreement.calibration} == {"teacher", "student", "baseline"}
    for one in seen.disagreement.classes:
        right = one.both_right + one.reference_only_right + one.other_only_right
        assert right + one.both_wrong_alike + one.both_wrong_apart == one.rows == 150
    assert seen.notes == ()
    assert seen.rows.overlap_with_training == Overlap(0, "both texts")


def test_where_models_look_is_what_eager_attention_gives(seen: Findings, classifiers: dict[str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from forge.runs.run_dir import open_existing

    assert [len(one.attention) for one in seen.examples[:21]] == [2] * 20 + [0]
    folder = open_existing(classifiers["student"]).checkpoint("best")
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for one in seen.examples[:3]:
        shown = next(told for told in one.attention if told.model == "student")
        batch = tokenizer(one.inputs["text"], one.inputs["text_pair"], return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            expected = model(**batch, output_attentions=True).attentions[-1][0].mean(0)
        assert shown.tokens == tuple(tokenizer.convert_ids_to_tokens(batch["input_ids"][0]))
        assert np.abs(np.array(shown.weights) / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-6
        assert np.array(shown.weights).sum(1) == pytest.approx(255, abs=len(shown.tokens) / 2)


def test_the_questions_have_an_answer_that_its_figure_carries(seen: Findings) -> None:
    first = next(one for one in seen.verdicts if one.about == "alignment" and one.than == "baseline")
    (nearer,) = (one for one in seen.nearer if one.than == "baseline")
    assert first.figure == nearer.mean
    assert nearer.mean.interval
    assert None not in nearer.mean.interval
    low, high = nearer.mean.interval
    assert first.answer == ("yes" if low > 0 else "opposite" if high < 0 else "no")  # type: ignore[operator]
    mean = np.mean([nearer.difference_TS[t][s] for t, s in seen.alignment[0].matched])
    assert nearer.mean.value == pytest.approx(float(mean))


def test_files_beside_the_run(seen: Findings, classifiers: dict[str, Path], tmp_path: Path) -> None:
    folder = classifiers["student"] / "workbench"
    assert read_findings(folder / "findings.json") == seen
    examples = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    assert len(examples) == 150
    assert [one["apart"] for one in examples] == sorted((one["apart"] for one in examples), reverse=True)
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    spec = json.loads((folder / "predictions.jsonl.spec").read_text())
    assert all(set(one) == set(spec) for one in predictions)
    assert spec["teacher_answer"]["vocab"] == list(seen.rows.labels)
    tensors = load_file(folder / "representations" / "teacher" / "encoder.safetensors")
    assert {one.shape[0] for one in tensors.values()} == {150}
    assert not list(folder.rglob("*.tmp"))
    write_report(seen, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 20_000


def test_what_was_seen_of_a_model_is_what_it_says(seen: Findings, classifiers: dict[str, Path]) -> None:
    """Answers of the findings are those of `predict`, and rows of the features are those examples."""
    from forge.inference.classification import load_run, predict
    from forge.runs.run_dir import open_existing

    shown = seen.examples[:20]
    loaded = load_run(open_existing(classifiers["student"]))
    answers = [one["label"] for one in predict(loaded, [dict(one.inputs) for one in shown])]
    assert answers == [one.said["student"] for one in shown]
    folder = classifiers["student"] / "workbench" / "representations"
    records = [Representations.open(folder / key, "encoder").records for key in ("teacher", "student", "random_init")]
    assert records[0] == records[1] == records[2]
    assert {one.id for one in seen.examples} == {record["id"] for record in records[0]}


def test_a_second_look_is_the_same_to_the_byte(classifiers: dict[str, Path], tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        asked = Asked([str(classifiers["student"])], rows=60, quick=True, out=str(tmp_path / name))
        _, folder = look(asked, lambda _: None)
        written.append({path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    assert "findings.json" in written[0]


def test_a_model_is_like_itself(classifiers: dict[str, Path], tmp_path: Path) -> None:
    run = str(classifiers["student"])
    found, _ = look(Asked([run], teacher=run, rows=60, quick=True, out=str(tmp_path)), lambda _: None)
    (own,) = (one for one in found.alignment if one.other == "student")
    assert [own.cka_TS[layer][layer] for layer in range(3)] == pytest.approx([1.0] * 3)
    (told,) = (one for one in found.disagreement.classes if one.other == "student")
    assert (told.agreement.value, told.js_mean) == (1.0, 0.0)
    assert found.verdicts[0].answer == "unknown"
    assert "--baseline" in found.verdicts[0].sentence


def test_without_a_teacher_probes_and_calibration_are_left(classifiers: dict[str, Path], tmp_path: Path) -> None:
    asked = Asked([str(classifiers["baseline"])], rows=60, quick=True, out=str(tmp_path))
    found, _ = look(asked, lambda _: None)
    assert found.alignment == found.nearer == found.disagreement.classes == ()
    assert found.probing
    assert [one.model for one in found.disagreement.calibration] == ["student"]
    assert {note.about for note in found.notes} == {"alignment", "disagreement"}
    assert found.reference is None


def test_runs_beside_each_other(classifiers: dict[str, Path], tmp_path: Path) -> None:
    """With the teacher of the first; without one the first is what the others are compared with."""
    both = [str(classifiers["student"]), str(classifiers["baseline"])]
    found, _ = look(Asked(both, rows=60, quick=True, out=str(tmp_path / "a")), lambda _: None)
    assert [one.key for one in found.subjects] == ["teacher", "student", "student_2", "random_init"]
    assert ("student", "student_2") in {(one.model, one.than) for one in found.nearer}
    assert len({one.name for one in found.subjects}) == 4
    found, _ = look(Asked(both[::-1], rows=60, quick=True, out=str(tmp_path / "b")), lambda _: None)
    assert found.reference == "student"
    assert {one.other for one in found.alignment} == {"student_2", "random_init"}


def test_rows_that_training_had_are_left_out_and_counted_in_any_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(40)]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(200)]
    rows = [{"text": text, "label": "yes" if text.split()[0] < "w2" else "no"} for text in texts]
    shouted = [row | {"text": f" {row['text'].upper().replace(' ', '  ')}"} for row in rows]
    parts = {"train": rows[:100], "validation": shouted[80:140], "test": rows[90:190]}
    for name, part in parts.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    data = {name: str(tmp_path / f"{name}.jsonl") for name in parts}
    run = trained(tmp_path / "run", {"data": {"name": None, "embedded": {}, **data}})
    found, _ = look(Asked([str(run)], quick=True), lambda _: None)
    assert (found.rows.used, found.rows.left_out, found.rows.of) == (90, 10, 100)
    assert not {one.inputs["text"] for one in found.examples} & set(texts[:100])
    assert found.rows.overlap_with_training == Overlap(10, "the text")
    told = "Overlap with training: 10 of 100, going by the text; left out."
    assert told in html.unescape(render(found))
    # The same texts, written in capitals and with other spaces, and a split that chose the best checkpoint.
    found, _ = look(Asked([str(run)], quick=True, split="validation"), lambda _: None)
    assert (found.rows.split, found.rows.used, found.rows.left_out, found.rows.of) == ("validation", 40, 20, 60)
    assert found.rows.overlap_with_training == Overlap(20, "the text")
    assert {one.id.split()[0] for one in found.examples} == {"validation"}
    assert any("split validation was measured while it trained" in note.text for note in found.notes)


def test_splits_have_names_of_their_own(tmp_path: Path) -> None:
    """Of a run that is measured on several: whole names, and last words where those are clear."""
    splits = {"validation": {"matched": "validation", "both": "validation"}, "test": {"both": "test"}}
    run = trained(tmp_path / "run", {"data": splits, "train": {"max_steps": 2}})
    for named, split in (("matched", "validation.matched"), ("test.both", "test.both"), (None, "test.both")):
        asked = Asked([str(run)], rows=40, quick=True, split=named, out=str(tmp_path / "out"))
        assert look(asked, lambda _: None)[0].rows.split == split
    for named, says in (
        ("both", "has validation.both and test.both; give the whole name"),
        ("train", "has no split 'train'; there are: validation.matched, validation.both, test.both"),
    ):
        with pytest.raises(UserError, match=says):
            look(Asked([str(run)], rows=40, quick=True, split=named), lambda _: None)


# Models that write text


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("translators")
    change = toy_translation.settings(folder / "data", max_steps=30, learning_rate=3e-3)
    for side in ("en", "fr"):
        lines = (folder / "data" / f"train.{side}").read_text().splitlines()
        # Of like words and three lengths, and in no training text.
        own = [line[:-1] + " the dog" * (number % 3) + " !" for number, line in enumerate(lines[:80])]
        (folder / "data" / f"test.{side}").write_text("\n".join(own) + "\n")
    wide = merged(change, {"model": {"build": {"layers": 2, "width": 48}}})
    teacher = trained(folder / "teacher", wide)
    tokens = {"model": {"tokenizer": str(next(iter(sorted(teacher.glob("checkpoint-*")))))}}
    student = trained(folder / "student", taught_by(teacher, merged(change, tokens)))
    return {"teacher": teacher, "student": student, "baseline": trained(folder / "baseline", merged(change, tokens))}


def test_translators(translators: dict[str, Path], tmp_path: Path) -> None:
    asked = Asked([str(translators["student"])], baseline=str(translators["baseline"]), quick=True)
    found, folder = look(asked, lambda _: None)
    assert {one.stack for one in found.alignment} == {"encoder", "decoder"}
    assert {(one.stack, one.label) for one in found.probing} == {
        ("encoder", "length of the source"), ("decoder", "length of the reference"),
        ("encoder", "token"), ("decoder", "token"),
    }  # fmt: skip
    assert not any(one.of_task for one in found.probing)
    assert {one.other for one in found.disagreement.texts} == {"student", "baseline"}
    told = found.disagreement.texts[0]
    assert told.on_gold
    assert told.on_reference
    assert told.tokens_on_gold
    assert 0 <= told.on_gold.value <= 1  # type: ignore[operator]
    assert set(told.figures) >= {"bleu", "chrf"}
    assert found.disagreement.compared[0].agreement
    assert all(set(one.said) == {"teacher", "student", "baseline"} for one in found.examples)
    assert found.rows.overlap_with_training == Overlap(0, "the source text")
    tokens = next(one for one in found.probing if (one.stack, one.label) == ("encoder", "token"))
    first = next(one for one in tokens.curves if one.model == "teacher").layers[0]
    assert first.accuracy.value
    assert first.accuracy.value > 0.9
    assert read_findings(folder / "findings.json") == found
    write_report(found, tmp_path / "report.html")


def test_the_likeliest_tokens_are_those_of_the_loss(translators: dict[str, Path]) -> None:
    """A model that is its own teacher agrees with itself on all tokens, and writes the same texts."""
    run = str(translators["student"])
    found, _ = look(Asked([run], teacher=run, quick=True, rows=40), lambda _: None)
    (told,) = found.disagreement.texts
    assert told.on_gold
    assert told.on_gold.value == 1.0
    assert (told.exact, told.median_divergence) == (1.0, 1.0)


def test_models_with_other_tokens_are_compared_in_words(translators: dict[str, Path], tmp_path: Path) -> None:
    metadata = json.loads((translators["student"] / "run_metadata.json").read_text())
    splits = {role: metadata["config"]["data"][role] for role in ("train", "validation", "test")}
    change = merged(toy_translation.settings(tmp_path / "unused", max_steps=4), {"data": splits})
    other = trained(tmp_path / "other", merged(change, {"model": {"build": {"vocab_size": 300}}}))
    asked = Asked([str(translators["student"]), str(other)], rows=40, quick=True, out=str(tmp_path / "out"))
    found, _ = look(asked, lambda _: None)
    told = next(one for one in found.disagreement.texts if one.other == "student_2")
    assert told.on_gold is told.on_reference is None
    assert told.slices == ()
    assert any("cuts texts into other tokens" in note.text for note in found.notes)
    assert "student_2" not in {curve.model for one in found.probing if one.label == "token" for curve in one.curves}


# Pages


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("readers")
    change = toy_reading.settings(folder / "data", max_steps=60)
    toy_reading.write_pages(folder / "data" / "test", 2_000, 40)
    pages = (folder / "data" / "test.jsonl").read_text().splitlines()
    pixels, text = toy_reading.draw(5)  # a page of training, but for a pixel
    pixels[-1, -1] = 0
    Image.fromarray(pixels).save(folder / "data" / "test" / "other.png")
    pages.append(json.dumps({"page": "test/other.png", "markdown": text, "tests": []}))
    (folder / "data" / "test.jsonl").write_text("\n".join(pages) + "\n")
    change = merged(change, {"data": {"test": str(folder / "data" / "test.jsonl")}})
    teacher = trained(folder / "teacher", change)
    return {"teacher": teacher, "student": trained(folder / "student", taught_by(teacher, change))}


def test_page_readers(readers: dict[str, Path], tmp_path: Path) -> None:
    found, folder = look(Asked([str(readers["student"])]), lambda _: None)
    training = {toy_reading.draw(number)[1] for number in range(160)}
    drawn_again = sum(toy_reading.draw(number)[1] in training for number in range(2_000, 2_040))
    assert found.rows.overlap_with_training == Overlap(drawn_again, "the picture and the Markdown", kept=1)
    assert 0 < drawn_again == found.rows.left_out == 41 - found.rows.used
    assert found.rows.overlap_told == (
        f"Overlap with training: {drawn_again} of 41, going by the picture and the Markdown; left out. "
        "By the Markdown alone 1 more; kept."
    )
    assert "test/other.png" in {one.id for one in found.examples}
    assert {one.stack for one in found.alignment} == {"encoder", "decoder"}
    assert [one.other for one in found.disagreement.texts] == ["student"]
    assert set(found.disagreement.texts[0].figures) == {"cer", "wer"}
    assert any("block types" in note.text for note in found.notes)  # all pages are of one kind, which is said
    assert {note.about for note in found.notes} <= {"probing", "rows", "examples"}
    assert read_findings(folder / "findings.json") == found
    write_report(found, tmp_path / "report.html")


@pytest.mark.parametrize(
    ("markdown", "blocks"),
    [
        ("only words", ("text",)),
        ("# A title\n\nwords", ("heading",)),
        ("| a | b |\n|---|---|\n- item", ("table", "list")),
        ("1. one\n2. two", ("list",)),
        ("<table><tr></tr></table>", ("table",)),
        ("#5 is no heading", ("text",)),
    ],
)
def test_blocks_of_a_page(markdown: str, blocks: tuple[str, ...]) -> None:
    assert blocks_of(markdown) == blocks
