"""Findings of every shape for what shows them: toy features and answers, real figures, the same each time."""

from __future__ import annotations

import numpy as np

from forge.workbench import findings as f
from forge.workbench import verdicts
from forge.workbench.aligned import Alignments
from forge.workbench.parted import Choices, calibrated, classes_compared, classes_part, tags_of
from forge.workbench.parted_texts import Writing, texts_compared, texts_part
from forge.workbench.probe_inputs import bag_of_words
from forge.workbench.probed import Effort, Labelled, probed
from forge.workbench.probing import ProbeSettings
from forge.workbench.slices import named_axis, negation_axis, quantile_axis

LABELS = ("entailment", "neutral", "contradiction")
ALL = ("teacher", "student", "baseline", "random_init")
NAMES = {
    "teacher": "the teacher",
    "student": "40_far",
    "student_2": "20_kd",
    "baseline": "00_sft",
    "random_init": "untrained student",
}
SKILL = {"teacher": 2.6, "student": 2.1, "student_2": 1.9, "baseline": 1.7, "random_init": 0.1}
NEAR = {"teacher": 1.0, "student": 0.85, "student_2": 0.7, "baseline": 0.5, "random_init": 0.15}
WORDS = [
    "a",
    "cat",
    "dog",
    "child",
    "old",
    "woman",
    "is",
    "not",
    "never",
    "sleeping",
    "running",
    "near",
    "the",
    "red",
    "house",
    "under",
    "rain",
    "alone",
    "today",
]
MOTS = [
    "le",
    "chat",
    "noir",
    "dort",
    "dans",
    "une",
    "vieille",
    "maison",
    "près",
    "du",
    "jardin",
    "et",
    "ne",
    "voit",
    "pas",
    "la",
    "pluie",
    "qui",
    "tombe",
]
SEED = 5


def classified(keys=ALL, rows=240, layers=(5, 3), labels=LABELS, who="student"):
    """Of classifiers; `who` is the model that the key "student" stands for."""
    rng = np.random.default_rng([SEED, len(keys)])
    gold_N = rng.integers(len(labels), size=rows)
    texts = [_text(rng, WORDS, 6, 14) for _ in range(rows)]
    pairs = [_text(rng, WORDS, 3, 8) for _ in range(rows)]
    latent_ND, shared_NC = _latent(rng, gold_N, len(labels)), rng.standard_normal((rows, len(labels)))
    features = {key: _features(rng, _is(key, who), latent_ND, layers[key != "teacher"]) for key in keys}
    choices = {key: _choices(rng, _is(key, who), gold_N, shared_NC) for key in keys}
    axes = [named_axis("class", labels, gold_N), negation_axis(pairs)]
    axes.append(quantile_axis("words of the premise", np.array([len(text.split()) for text in texts], float)))
    first, others = keys[0], keys[1:]
    told = Labelled("class", "The class of the task.", True, labels, gold_N, pairs, pairs, bag_of_words(texts, pairs))
    parted = f.Disagreement(
        tuple(classes_part(first, key, gold_N, (choices[first], choices[key]), axes) for key in others),
        (),
        tuple(calibrated(key, choices[key], gold_N, SEED) for key in keys),
        tuple(classes_compared(first, pair, gold_N, choices) for pair in _pairs(keys)),
    )
    tags = tags_of(axes, rows)
    apart_N = np.abs(
        choices[first].probabilities_NC - choices[keys[-1] if len(keys) < 3 else keys[1]].probabilities_NC
    ).max(1)
    examples = tuple(
        f.Example(
            f"dev {row}", {"text": texts[row], "text_pair": pairs[row]}, labels[gold_N[row]],
            {key: labels[one.answers[row]] for key, one in choices.items()},
            {key: float(one.confidence[row]) for key, one in choices.items()},
            float(apart_N[row]), tags[row], _attention(rng, keys, pairs[row]) if place < 3 else (),
        )
        for place, row in enumerate(np.argsort(-apart_N, kind="stable").tolist())
    )  # fmt: skip
    figures = {key: one.figures(gold_N) for key, one in choices.items()}
    return _findings("classification", features, rows, labels, figures, told, parted, examples, who=who)


def written(
    task="translation", keys=("teacher", "student", "baseline"), rows=120, layers=(5, 3), words=9, who="student"
):
    """Of models that write text."""
    rng = np.random.default_rng([SEED, len(task)])
    sources = [_text(rng, WORDS, words - 4, words + 4) for _ in range(rows)]
    gold = [_text(rng, MOTS, words - 4, words + 4) for _ in range(rows)]
    length_N = np.digitize([len(text.split()) for text in sources], [words - 1, words + 2])
    latent_ND = _latent(rng, length_N, 3)
    features = {key: _features(rng, _is(key, who), latent_ND, layers[key != "teacher"]) for key in keys}
    writings = {key: _writing(rng, _is(key, who), gold, task) for key in keys}
    axes = [quantile_axis("words of the source", np.array([len(text.split()) for text in sources], float), 3)]
    first, others = keys[0], keys[1:]
    kind, language = ("translation", "fr") if task == "translation" else ("ocr", None)
    told = Labelled("length of the source", "How long the source is; not translation.", False,
                    ("short", "middle", "long"), length_N, sources)  # fmt: skip
    compared = [texts_compared(first, pair, writings, SEED) for pair in _pairs(keys)]
    parted = f.Disagreement(
        (),
        tuple(texts_part((first, key), (writings[first], writings[key]), kind, language, axes, SEED) for key in others),
        (),
        tuple(one for one in compared if one),
    )
    tags = tags_of(axes, rows)
    apart = [
        1 - np.mean(np.equal(writings[first].on_gold[row], writings[others[0]].on_gold[row])) for row in range(rows)
    ]
    name = "source" if task == "translation" else "page"
    examples = tuple(
        f.Example(
            f"test {row}", {name: sources[row]}, gold[row], {key: one.texts[row] for key, one in writings.items()},
            {}, float(apart[row]), tags[row],
        )
        for row in np.argsort(-np.array(apart), kind="stable").tolist()
    )  # fmt: skip
    figures = {key: dict(one.figures) for key, one in writings.items()}
    return _findings(task, features, rows, (), figures, told, parted, examples, who=who)


def _is(key, who):
    return who if key == "student" else key


def _findings(task, features, rows, labels, figures, told, parted, examples, *, who):
    keys = tuple(features)
    aligned = Alignments("encoder", keys[0], features[keys[0]], SEED)
    for key in keys[1:]:
        aligned.add(key, features[key])
    pairs = _pairs(keys)
    nearer = [one for pair in pairs if (one := aligned.nearer(*pair))]
    effort = Effort(ProbeSettings(splits=3, strengths=(0.01, 0.1), seed=SEED), True, False)
    probing = [probed("encoder", told, features, pairs, effort)]
    names = {key: NAMES[_is(key, who)] for key in keys}
    said = [verdicts.of_nearer(one, names) for one in nearer]
    said += [verdict for one in parted.compared for verdict in verdicts.of_compared(one, names)]
    for one in probing:
        said += [verdict for pair in one.differences if (verdict := verdicts.of_probing(one, pair, names))]
    subjects = tuple(
        f.Subject(
            key, key.partition("_2")[0], names[key], f"runs/{_is(key, who)}", "checkpoint-100", "toy",
            1_000 * len(features[key]), {"encoder": len(features[key])}, figures[key],
        )
        for key in keys
    )  # fmt: skip
    return f.Findings(
        f.SCHEMA, "0.1.0", names[keys[1]], False, SEED, subjects,
        f.Rows(task, "test", rows, rows + 60, 12, "0f" * 8, tuple(labels), f.Overlap(12, "both texts")),
        tuple(said), tuple(aligned.found), tuple(nearer), tuple(probing), parted, examples,
        (f.Note("rows", "72 rows were asked for, the split has 60."),),
    )  # fmt: skip


def _pairs(keys):
    students = [key for key in keys if key.startswith("student")]
    return [(one, "baseline") for one in students if "baseline" in keys]


def _latent(rng, gold_N, classes):
    return np.eye(classes)[gold_N] @ rng.standard_normal((classes, 12)) + 1.5 * rng.standard_normal((len(gold_N), 12))


def _features(rng, key, latent_ND, depth):
    """Layers that come nearer to what is shared the deeper they are, and the nearer the model the more."""
    own_ND = rng.standard_normal(latent_ND.shape)
    found = {}
    for layer in range(depth):
        near = NEAR[key] * (0.4 + 0.6 * layer / (depth - 1))
        mixed_ND = near * latent_ND + (1 - near) * 2 * own_ND
        turned_DE = np.linalg.qr(rng.standard_normal((16, 12)))[0].T
        found[f"layer {layer}"] = mixed_ND @ turned_DE + 0.5 * rng.standard_normal((len(own_ND), 16))
    return found


def _choices(rng, key, gold_N, shared_NC):
    noise_NC = NEAR[key] * shared_NC + (1 - NEAR[key]) * rng.standard_normal(shared_NC.shape)
    logits_NC = SKILL[key] * np.eye(shared_NC.shape[1])[gold_N] + 1.2 * noise_NC
    weights_NC = np.exp(logits_NC)
    return Choices(weights_NC / weights_NC.sum(1, keepdims=True))


def _writing(rng, key, gold, task):
    vocabulary = {word: number for number, word in enumerate(MOTS)}
    texts, forced = [], []
    for text in gold:
        words, wrong = text.split(), 0.35 * (1 - SKILL[key] / 3)
        said = [str(rng.choice(MOTS)) if rng.random() < wrong else word for word in words]
        texts.append(" ".join(said))
        forced.append([vocabulary[word] for word in said])
    ids = [[vocabulary[word] for word in text.split()] for text in texts]
    figure = (
        {"bleu": 100 * (1 - wrong), "chrf": 100 - 80 * wrong}
        if task == "translation"
        else {"cer": wrong, "wer": 2 * wrong}
    )
    return Writing(texts, ids, "toy", forced, forced, figure)


def _attention(rng, keys, text):
    tokens = ("[CLS]", *text.split())
    weights = rng.dirichlet(np.full(len(tokens), 0.4), len(tokens))
    rows = tuple(tuple(map(int, np.round(255 * row))) for row in weights)
    return tuple(f.AttentionMap(key, "encoder", "layer 3", tokens, rows) for key in keys[:2])


def _text(rng, words, least, most):
    return " ".join(rng.choice(words, size=rng.integers(least, most + 1)))
