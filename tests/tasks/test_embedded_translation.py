"""The embedded translation data: the French is right, each English sentence has one, splits do not leak."""

# ruff: noqa: E501 (a golden sentence is one line)
from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from itertools import combinations

import pytest
from french_oracle import errors

from forge.tasks.embedded.translation import SPLITS, generate, split_of
from forge.tasks.embedded.translation_clauses import TENSES, Clause, Pair
from forge.tasks.embedded.translation_draw import NEVER, NO_LONGER, NOT, NOT_ANY, NOT_YET, Draw
from forge.tasks.embedded.translation_french import agreed, cardinal, conjugation, elided
from forge.tasks.embedded.translation_phrases import ONE, US, WE, YOU, noun_phrase, owned
from forge.tasks.embedded.translation_simple import tense_of
from forge.tasks.embedded.translation_words import ADJECTIVES, BODIES, TEXTS, VERBS

NOUNS = {noun.en[0]: noun for noun in (*BODIES, *TEXTS)}
BESIDE = {adjective.en: adjective for adjective in ADJECTIVES}
DOING = {verb.key: verb for verb in VERBS}
SIZES = {"train": 20_000, "validation": 4_000, "test": 4_000}
IN_A_PROCESS = """
import hashlib, json, sys
from forge.tasks.embedded.translation import SPLITS, generate
assert not {"torch", "transformers"} & set(sys.modules)
print(json.dumps({s: hashlib.sha256(json.dumps(generate(s, 200)).encode()).hexdigest() for s in SPLITS}))
"""


@pytest.fixture(scope="module")
def data():
    return {split: generate(split, size) for split, size in SIZES.items()}


def words(text):
    return re.findall(r"[\w-]+", text.lower())


# --- the French is right


@pytest.mark.parametrize(
    ("split", "difficulty", "size"), [("train", 0.0, 4_000), ("train", 1.0, 12_000), ("test", 0.5, 4_000)]
)
def test_a_teacher_finds_nothing(split, difficulty, size):
    found = [
        (row["target"], wrong) for row in generate(split, size, 21, difficulty) if (wrong := errors(row["target"]))
    ]
    assert not found[:5]


MISTAKES = [
    (r"\bl'(?=[aeéi])", "le "),
    (r"\bd'(?=[aeéiu])", "de "),
    (r"\bn'(?=[aeéi])", "ne "),
    (r"\bqu'", "que "),
    (r"\ble (?=[a-z])", "la "),
    (r"\bla (?=[a-z])", "le "),
    (r"\bun (?=[a-z])", "une "),
    (r"\bune (?=[a-z])", "un "),
    (r"\bles (?=[a-z])", "le "),
    (r"\bdu ", "de le "),
    (r"\baux? ", "à les "),
    (r"\bcet ", "ce "),
    (r"\b(ne |n')(?!y)", ""),
    (r"ées\b", "é"),
    (r"és\b", "é"),
    (r"elles? (?=\w)", "eau "),
    (r"euses?\b", "eux"),
    (r"ent\b(?= (l|d|u|n|c))", "e"),
    (r"ons\b", "ez"),
    (r"-t-", "-"),
    (r" \?", "?"),
]


@pytest.mark.parametrize(("pattern", "wrong"), MISTAKES)
def test_the_teacher_sees_mistakes(pattern, wrong):
    """A checker that finds nothing must be shown to find something."""
    made = seen = 0
    for row in generate("train", 1_500, seed=5, difficulty=0.8):
        places = list(re.finditer(pattern, row["target"]))
        if places:
            place = random.Random(row["target"]).choice(places)
            changed = row["target"][: place.start()] + wrong + row["target"][place.end() :]
            made, seen = made + 1, seen + bool(errors(changed))
    assert made >= 10
    assert seen >= 0.75 * made


# --- golden sentences, written by hand


def thing(words_, owner=None):
    """`the new directives` as a phrase: a determiner, adjectives, a noun."""
    if words_ in {"I", "we", "us", "you"}:
        return {"I": ONE, "we": WE, "us": US, "you": YOU}[words_]
    for name in sorted(NOUNS, key=len, reverse=True):
        noun = NOUNS[name]
        for plural, form in enumerate(noun.en):
            if words_ == form or words_.endswith(f" {form}"):
                front = words_.removesuffix(form).split()
                beside = tuple(BESIDE[word] for word in front if word in BESIDE)
                determiner = " ".join(word for word in front if word not in BESIDE)
                determiner = {"an": "a", "": "a", "these": "this", "all the": "all"}.get(determiner, determiner)
                if owner:
                    return owned(noun, beside, bool(plural), thing(owner), by_of=False)
                return noun_phrase(determiner, noun, beside, bool(plural))
    raise ValueError(words_)


def say(subject, tense, verb, obj=None, to=None, **how):
    clause = Clause(thing(subject), DOING[verb], TENSES[tense], **how)
    clause.object = thing(obj) if isinstance(obj, str) else obj
    clause.recipient = thing(to) if isinstance(to, str) else to
    return clause


def told(clause):
    en, fr = clause.text()
    return en, elided(fr)


IT, THEM = thing("the directive").object_pronoun(), thing("the regulations").object_pronoun()
THE = "the Commission"
GOLDEN = [  # clause, English, French
    (say(THE, "present", "adopt", "a report"), "the Commission adopts a report", "la Commission adopte un rapport"),
    (
        say(THE, "perfect", "adopt", "the new directives", negation=NOT_YET),
        "the Commission has not yet adopted the new directives",
        "la Commission n'a pas encore adopté les nouvelles directives",
    ),
    (say(THE, "future", "send", IT, to="the Council"), "the Commission will send it to the Council", "la Commission l'enverra au Conseil"),
    (say(THE, "perfect", "adopt", IT), "the Commission has adopted it", "la Commission l'a adoptée"),
    (say("we", "perfect", "reject", THEM), "we have rejected them", "nous les avons rejetés"),
    (say("the minister", "perfect", "thank", "us"), "the minister has thanked us", "le ministre nous a remerciés"),
    (say("the minister", "perfect", "reply to", "us"), "the minister has replied to us", "le ministre nous a répondu"),
    (say("the minister", "perfect", "send", IT, to="us"), "the minister has sent it to us", "le ministre nous l'a envoyée"),
    (say("I", "present", "need", IT), "I need it", "j'en ai besoin"),
    (say("I", "present", "contribute to", IT, negation=NOT), "I do not contribute to it", "je n'y contribue pas"),
    (say("we", "must", "take into account", IT), "we must take it into account", "nous devons en tenir compte"),
    (say("we", "must", "adopt", IT, negation=NOT), "we must not adopt it", "nous ne devons pas l'adopter"),
    (say("the Union", "just", "obtain", "an agreement"), "the Union has just obtained an agreement", "l'Union vient d'obtenir un accord"),
    (say("the authorities", "going to", "act"), "the authorities are going to act", "les autorités vont agir"),
    (say("the authorities", "perfect", "arrive"), "the authorities have arrived", "les autorités sont arrivées"),
    (say(THE, "past", "leave", negation=NEVER), "the Commission never left", "la Commission n'est jamais partie"),
    (say("we", "future", "come back", end=Pair("tomorrow", "demain")), "we will come back tomorrow", "nous reviendrons demain"),
    (say("the countries", "was -ing", "protect", "the citizens"), "the countries were protecting the citizens", "les pays protégeaient les citoyens"),
    (say("we", "used to", "strengthen", "the rules"), "we used to strengthen the rules", "nous renforcions les règles"),
    (say("I", "used to", "announce", "measures"), "I used to announce measures", "j'annonçais des mesures"),
    (say("the group", "conditional", "support", "the delegation"), "the group would support the delegation", "le groupe soutiendrait la délégation"),
    (say("the Members", "can", "understand", "this opinion"), "the Members can understand this opinion", "les députés peuvent comprendre cet avis"),
    (say("the committee", "should", "present", "its opinion"), "the committee should present its opinion", "la commission devrait présenter son avis"),
    (say("the committee", "present", "follow", "its analysis"), "the committee follows its analysis", "la commission suit son analyse"),
    (say("the agencies", "could", "harmonise", "their studies"), "the agencies could harmonise their studies", "les agences pourraient harmoniser leurs études"),
    (say("the expert", "want", "use", "my idea"), "the expert wants to use my idea", "l'expert veut utiliser mon idée"),
    (say("the High Representative", "perfect", "speak about", "our new tool"), "the High Representative has spoken about our new tool", "le haut représentant a parlé de notre nouvel outil"),
    (say("we", "present", "vote in favour of", "the budget"), "we vote in favour of the budget", "nous votons en faveur du budget"),
    (say("we", "present", "vote in favour of", "the reform"), "we vote in favour of the reform", "nous votons en faveur de la réforme"),
    (say("we", "future", "put an end to", "the policies"), "we will put an end to the policies", "nous mettrons fin aux politiques"),
    (say("we", "future", "reply to", "the Union"), "we will reply to the Union", "nous répondrons à l'Union"),
    (say("I", "present", "take into account", "the choices"), "I take the choices into account", "je tiens compte des choix"),
    (say("the government", "perfect", "present", "a plan", negation=NOT), "the government has not presented a plan", "le gouvernement n'a pas présenté de plan"),
    (say("the government", "perfect", "obtain", "agreements", negation=NEVER), "the government has never obtained agreements", "le gouvernement n'a jamais obtenu d'accords"),
    (say("the government", "perfect", "block", "any law", negation=NOT_ANY), "the government has not blocked any law", "le gouvernement n'a bloqué aucune loi"),
    (say("the company", "present", "receive", "the texts", negation=NO_LONGER), "the company no longer receives the texts", "l'entreprise ne reçoit plus les textes"),
    (say("we", "can", "accept", "this compromise", negation=NOT), "we cannot accept this compromise", "nous ne pouvons pas accepter ce compromis"),
    (say("the region", "since", "finance", "a programme", end=Pair("for two years", "depuis deux ans")), "the region has been financing a programme for two years", "la région finance un programme depuis deux ans"),
    (say(THE, "progressive", "prepare", "new measures"), "the Commission is preparing new measures", "la Commission prépare de nouvelles mesures"),
    (say(THE, "progressive", "prepare", "European measures"), "the Commission is preparing European measures", "la Commission prépare des mesures européennes"),
    (say("many Member States", "perfect", "sign", "all the treaties"), "many Member States have signed all the treaties", "de nombreux États membres ont signé tous les traités"),
    (say("each authority", "future", "choose", "its priority"), "each authority will choose its priority", "chaque autorité choisira sa priorité"),
    (say("you", "future", "define", "the 21 objectives"), "you will define the twenty-one objectives", "vous définirez les vingt et un objectifs"),
    (say("you", "present", "know", "81 measures"), "you know eighty-one measures", "vous connaissez quatre-vingt-une mesures"),
    (say("you", "was", "be right"), "you were right", "vous aviez raison"),
    (say("we", "present", "convince", "the old group"), "we convince the old group", "nous convainquons le vieux groupe"),
    (say("we", "present", "simplify", "an old agreement"), "we simplify an old agreement", "nous simplifions un vieil accord"),
    (say("the farmers", "present", "help", "the Court of Auditors"), "the farmers help the Court of Auditors", "les agriculteurs aident la Cour des comptes"),
    (say("the rapporteur", "although", "submit", "a large action plan"), "the rapporteur has submitted a large action plan", "le rapporteur ait soumis un grand plan d'action"),
    (say("the countries", "subjunctive", "take into account", "the roadmaps"), "the countries take the roadmaps into account", "les pays tiennent compte des feuilles de route"),
    (say("the citizen", "when", "reject", "the reform"), "the citizen rejects the reform", "le citoyen rejettera la réforme"),
    (say("the citizen", "was", "know", "the law"), "the citizen knew the law", "le citoyen connaissait la loi"),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "en", "fr"), GOLDEN, ids=[en for _, en, _ in GOLDEN])
def test_golden_clauses(clause, en, fr):
    assert told(clause) == (en, fr)


QUESTIONS = [
    (say(THE, "perfect", "adopt", "the report"), "has the Commission adopted the report", "la Commission a-t-elle adopté le rapport"),
    (say("the Council", "future", "adopt", IT), "will the Council adopt it", "le Conseil l'adoptera-t-il"),
    (say("the Members", "present", "know", "this law"), "do the Members know this law", "les députés connaissent-ils cette loi"),
    (say("you", "past", "sign", "the treaty"), "did you sign the treaty", "avez-vous signé le traité"),
    (say("we", "can", "act", negation=NOT), "can we not act", "ne pouvons-nous pas agir"),
    (say("the company", "should", "work", negation=NOT), "should the company not work", "l'entreprise ne devrait-elle pas travailler"),
    (say("the group", "present", "convince", "us"), "does the group convince us", "le groupe nous convainc-t-il"),
    (say("the regions", "conditional", "act"), "would the regions act", "les régions agiraient-elles"),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "en", "fr"), QUESTIONS, ids=[en for _, en, _ in QUESTIONS])
def test_golden_questions(clause, en, fr):
    assert (clause.english(question=True), elided(clause.french(question=True))) == (en, fr)


def test_golden_agreement_with_what_comes_first():
    clause = say("the committee", "perfect", "adopt")
    clause.antecedent = thing("the reforms")
    assert elided(f"les réformes que {clause.french()}") == "les réformes que la commission a adoptées"
    whose = thing("the good report", owner="the Commission")
    assert (whose.en, whose.fr) == ("the Commission's good report", "le bon rapport de la Commission")
    assert thing("the High Representative").a == "au haut représentant"
    assert elided(thing("the agreement").de) == "de l'accord"
    assert elided(noun_phrase("a", NOUNS["agreement"], (), True).de) == "d'accords"
    assert elided("si il vient, si elle vient, que on, la autorité, le haut, je ai") == (
        "s'il vient, si elle vient, qu'on, l'autorité, le haut, j'ai"
    )


@pytest.mark.parametrize(
    ("number", "feminine", "spelled"),
    [
        (2, False, "deux"),
        (21, False, "vingt et un"),
        (31, True, "trente et une"),
        (70, False, "soixante-dix"),
        (71, False, "soixante et onze"),
        (80, False, "quatre-vingts"),
        (81, False, "quatre-vingt-un"),
        (91, True, "quatre-vingt-onze"),
        (99, False, "quatre-vingt-dix-neuf"),
    ],
)
def test_golden_numbers(number, feminine, spelled):
    assert cardinal(number, feminine) == spelled


@pytest.mark.parametrize(
    ("infinitive", "tense", "forms"),
    [
        ("être", "subjunctive", "sois sois soit soyons soyez soient"),
        ("avoir", "imperfect", "avais avais avait avions aviez avaient"),
        ("vouloir", "present", "veux veux veut voulons voulez veulent"),
        ("rejeter", "present", "rejette rejettes rejette rejetons rejetez rejettent"),
        ("rejeter", "future", "rejetterai rejetteras rejettera rejetterons rejetterez rejetteront"),
        ("envoyer", "conditional", "enverrais enverrais enverrait enverrions enverriez enverraient"),
        ("envoyer", "subjunctive", "envoie envoies envoie envoyions envoyiez envoient"),
        ("protéger", "imperfect", "protégeais protégeais protégeait protégions protégiez protégeaient"),
        ("renforcer", "present", "renforce renforces renforce renforçons renforcez renforcent"),
        ("recevoir", "subjunctive", "reçoive reçoives reçoive recevions receviez reçoivent"),
        ("soutenir", "subjunctive", "soutienne soutiennes soutienne soutenions souteniez soutiennent"),
        ("définir", "subjunctive", "définisse définisses définisse définissions définissiez définissent"),
        ("défendre", "present", "défends défends défend défendons défendez défendent"),
        ("introduire", "imperfect", "introduisais introduisais introduisait introduisions introduisiez introduisaient"),
        ("étudier", "imperfect", "étudiais étudiais étudiait étudiions étudiiez étudiaient"),
    ],
)
def test_golden_conjugations(infinitive, tense, forms):
    assert " ".join(conjugation(infinitive)[tense]) == forms


def test_golden_adjectives():
    assert [agreed("régional", f, p) for f, p in [(0, 0), (1, 0), (0, 1), (1, 1)]] == [
        *("régional", "régionale", "régionaux", "régionales")
    ]
    assert agreed("ancien", True, True) == "anciennes"
    assert agreed("sérieux", False, True) == "sérieux"


# --- the same rows everywhere; splits


def test_same_rows_in_every_process():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    here = {s: hashlib.sha256(json.dumps(generate(s, 200)).encode()).hexdigest() for s in SPLITS}
    assert [json.loads(out) for out in outputs] == [here, here]
    assert here == PINNED


# sha256 of `generate(split, 200)` as JSON; a change here changes every number measured on this data.
PINNED = {
    "train": "f884972a652bfd7c356c515f58ed32c9570830efc53034aa3d696044933c83c8",
    "validation": "ba99fcfcc27ded350c3f387c528057a33542ffbb98ae356c07c65b67cd6e2119",
    "test": "cf272ff0a2038eb0a11647e007cfcf48951e2cb7c45544c3e9d797542a554655",
}


def test_seed_difficulty_and_split_change_the_rows():
    drawn = [generate("train", 50), generate("train", 50, 1), generate("train", 50, 0, 0.6), generate("test", 50)]
    assert all(one != two for one, two in combinations(drawn, 2))


def test_no_sentence_is_in_two_splits(data):
    for one, two in combinations(SPLITS, 2):
        for side in ("source", "target"):
            assert not {row[side] for row in data[one]} & {row[side] for row in data[two]}


def test_a_combination_belongs_to_one_split():
    shares = [split_of((noun.en[0], verb.key, other.en[0])) for noun in BODIES for verb in VERBS for other in TEXTS]
    assert {s: round(shares.count(s) / len(shares), 2) for s in SPLITS} == {
        "train": 0.8,
        "validation": 0.1,
        "test": 0.1,
    }
    assert split_of(("a", "b", "c")) == split_of(("c", "a", "b"))


def test_every_english_word_occurs_in_train(data):
    seen = {word for row in data["train"] for word in words(row["source"])}
    for split in SPLITS[1:]:
        new = {word for row in data[split] for word in words(row["source"])} - seen
        assert all(re.fullmatch(r"[a-z]+ty-[a-z]+", word) for word in new)  # of the numbers, only the parts


def test_one_english_sentence_has_one_translation():
    found = {}
    for difficulty in (0.0, 0.5, 1.0):
        for row in generate("train", 12_000, seed=3, difficulty=difficulty):
            assert found.setdefault(row["source"], row["target"]) == row["target"]
    assert len(found) > 33_000


def test_no_verb_is_told_in_a_past_that_looks_like_its_present():
    draw = Draw("any", "train", 0.5)
    drawn = {key: {tense_of(draw, DOING[key]) for _ in range(500)} for key in ("put an end to", "adopt")}
    assert TENSES["past"] not in drawn["put an end to"]
    assert drawn["adopt"] >= {TENSES["past"], *drawn["put an end to"]}


def test_difficulty_makes_sentences_longer():
    lengths = [
        sum(len(words(row["source"])) for row in generate("train", 2_000, 0, difficulty)) / 2_000
        for difficulty in (0.0, 0.5, 1.0)
    ]
    assert lengths[0] + 1 < lengths[1] < lengths[2] - 1


@pytest.mark.parametrize(
    ("split", "difficulty", "says"),
    [
        ("dev", 0.5, "no split"),
        ("train", 1.5, "difficulty"),
        ("train", -0.1, "difficulty"),
        ("test", float("nan"), "difficulty"),
    ],
)
def test_wrong_arguments(split, difficulty, says):
    with pytest.raises(ValueError, match=says):
        generate(split, 1, difficulty=difficulty)
