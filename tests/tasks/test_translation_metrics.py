"""Figures against the sacreBLEU command line, and laws that any score of translations keeps."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core.errors import UserError
from forge.tasks.base import HIGHER_IS_BETTER
from forge.tasks.metrics.translation import TER_WORD_PAIRS, bleu_tokenised_lower, score_translations

DATA = Path(os.environ.get("FORGE_DATA", "data")).expanduser() / "translation"
NAMES = {"BLEU": "bleu", "chrF2++": "chrf", "TER": "ter"}
SENTENCES = [
    "Un homme avec un chapeau orange regarde quelque chose.",
    "L'équipe d'ouvriers n'a pas fini : il reste « beaucoup » à faire !",
    "Une femme, assise sur un banc, lit 3,5 pages de son livre.",
    "Deux jeunes garçons jouent au ballon sur l'herbe verte du parc.",
    "Qu'est-ce que c'est ? C'est un porte-avions aujourd'hui à quai.",
    "Aujourd'hui il fait beau ; demain, il pleuvra peut-être.",
]
LINE = st.text(st.characters(codec="utf-8", exclude_characters="\n", exclude_categories=("Cs",)), max_size=40)
SOME = settings(max_examples=60, deadline=None)


def worse(references, rate, seed=0):
    """Each word replaced by another of the corpus, or left out, at a rate."""
    rng = random.Random(seed)
    words = " ".join(references).split()
    changed = [[rng.choice([*words[:200], ""]) if rng.random() < rate else w for w in r.split()] for r in references]
    return [" ".join(line).strip() for line in changed]


def sacrebleu(tmp_path, hypotheses, references):
    """What `python -m sacrebleu` prints, with more digits than anyone reports."""
    paths = []
    for name, lines in (("ref", references), ("hyp", hypotheses)):
        paths.append(tmp_path / name)
        paths[-1].write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    words = [sys.executable, "-m", "sacrebleu", str(paths[0]), "-i", str(paths[1]), "-w", "12"]
    words += ["-m", "bleu", "chrf", "ter", "--chrf-word-order", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def multi30k(count=None):
    path = DATA / "multi30k.test_2016_flickr.fr"
    if not path.is_file():
        pytest.skip(f"{path} is not here; FORGE_DATA names the folder that has translation/multi30k.*")
    return [line.rstrip() for line in path.read_text(encoding="utf-8").split("\n")[:-1]][:count]


def agree(tmp_path, hypotheses, references):
    scores = score_translations(hypotheses, references)
    for printed in sacrebleu(tmp_path, hypotheses, references):
        name = NAMES[printed["name"]]
        assert float(f"{scores.figures[name]:.12f}") == printed["score"], name
        assert scores.detail["signatures"][name] == printed["signature"]
        if name == "bleu":
            parts = "/".join(f"{value:.1f}" for value in scores.detail["precisions"])
            tokens = scores.detail["tokens"]
            assert printed["verbose_score"] == (
                f"{parts} (BP = {scores.detail['brevity_penalty']:.3f} ratio = {scores.figures['length_ratio']:.3f} "
                f"hyp_len = {tokens['hypothesis']} ref_len = {tokens['reference']})"
            )
    return scores


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_command_line_of_sacrebleu_prints_the_same(tmp_path, rate):
    references = SENTENCES * 4
    scores = agree(tmp_path, worse(references, rate), references)
    assert 0 < scores.figures["bleu"] < 100


@pytest.mark.parametrize("seed", range(3))
def test_the_same_on_random_characters(tmp_path, seed):
    rng = random.Random(seed)
    letters = "aàéç'’«»-,. 0123\t\u00a0\u2028\u0085日本Ωß\"&<>"
    lines = [["x" + "".join(rng.choices(letters, k=rng.randrange(30))) for _ in range(12)] for _ in range(2)]
    agree(tmp_path, *[[line.rstrip() for line in part] for part in lines])


def test_the_same_on_multi30k(tmp_path):
    references = multi30k()
    assert len(references) == 1000
    agree(tmp_path, worse(references, 0.3), references)


def test_a_language_chooses_the_tokeniser_as_in_sacrebleu():
    hypotheses, references = ["我喜欢猫。", "今天天气好"], ["我喜欢小猫。", "今天天气很好"]
    chinese, french = (score_translations(hypotheses, references, language) for language in ("zh", "fr"))
    assert "tok:zh" in chinese.detail["signatures"]["bleu"]
    assert "tok:13a" in french.detail["signatures"]["bleu"]
    assert chinese.figures["bleu"] > french.figures["bleu"]


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_a_tokeniser_that_is_not_installed_is_named(language):
    pytest.importorskip("sacrebleu")
    module = {"ja": "MeCab", "ko": "mecab_ko"}[language]
    if module in sys.modules or __import__("importlib.util").util.find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(UserError, match=f"BLEU of language '{language}': .*pip install") as caught:
        score_translations(["a"], ["a"], language)
    assert "\n" not in str(caught.value)


# Laws


@SOME
@given(st.lists(st.tuples(LINE, LINE).map("ab cd {0[0]} ef gh {0[1]} ij".format), min_size=1, max_size=5))
def test_what_is_the_same_is_perfect(lines):
    figures = score_translations(lines, lines).figures
    assert figures["bleu"] == pytest.approx(100)
    assert figures["chrf"] == pytest.approx(100)
    assert (figures["ter"], figures["length_ratio"]) == (0, 1)


@SOME
@given(st.lists(st.tuples(LINE, LINE), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_sentences_does_not_matter(pairs, rng):
    pairs = [*pairs, ("un chat", "un chat noir")]
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    one, other = (score_translations(*map(list, zip(*some, strict=True))) for some in (pairs, shuffled))
    assert one.figures == pytest.approx(other.figures, abs=1e-9)
    assert one.detail["counts"] == other.detail["counts"]


@SOME
@given(st.lists(st.tuples(LINE, LINE), min_size=1, max_size=6))
def test_every_figure_keeps_its_range(pairs):
    hypotheses, references = map(list, zip(*[*pairs, ("", "un chat noir")], strict=True))
    scores = score_translations(hypotheses, references)
    assert 0 <= scores.figures["bleu"] <= 100 + 1e-9
    assert 0 <= scores.figures["chrf"] <= 100 + 1e-9
    assert scores.figures["ter"] >= 0
    assert scores.detail["examples"] == len(pairs) + 1


def test_empty_hypotheses_cost_and_are_counted():
    scores = score_translations(["", " "], SENTENCES[:2])
    assert scores.figures == {"bleu": 0.0, "chrf": 0.0, "ter": 100.0, "length_ratio": 0.0}
    assert (scores.detail["empty_hypotheses"], scores.detail["brevity_penalty"]) == (2, 0.0)
    half, whole = (score_translations([SENTENCES[0], text], SENTENCES[:2]) for text in ("", SENTENCES[1]))
    assert half.figures["bleu"] < whole.figures["bleu"]
    assert half.figures["ter"] > whole.figures["ter"]


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], ["a", "b"], "there are 1 hypotheses and 2 references; each needs one"),
        ([], [], "there are no translations to score"),
        (["a"], [" "], "all references are empty"),
    ],
)
def test_what_cannot_be_scored(hypotheses, references, message):
    for score in (score_translations, lambda *texts: bleu_tokenised_lower(*texts, "fr")):
        with pytest.raises(UserError, match=message):
            score(hypotheses, references)


def test_every_figure_that_may_choose_a_checkpoint_has_a_direction():
    better, poorer = (score_translations(worse(SENTENCES, rate), SENTENCES).figures for rate in (0.1, 0.8))
    for name in ("bleu", "chrf", "ter"):
        assert (better[name] > poorer[name]) == HIGHER_IS_BETTER[name]


# TER's limit


def test_ter_of_long_lines_is_left_out_and_said_so():
    page = " ".join(SENTENCES * 50)
    words = len(page.split())
    scores = score_translations([page] * 100, [page] * 100)
    assert words**2 * 100 > TER_WORD_PAIRS
    assert "ter" not in scores.figures
    assert "ter" not in scores.detail["signatures"]
    assert scores.detail["left_out"] == {
        "ter": f"the lines are too long for TER: {words**2 * 100:,} pairs of words, the limit is 10,000,000"
    }
    assert {"bleu", "chrf", "length_ratio"} == set(scores.figures)


def test_the_limit_is_inclusive_and_can_be_lifted():
    hypotheses, references = ["a b c", "d"], ["a b", "d e f"]
    assert "ter" in score_translations(hypotheses, references, word_pairs=9).figures
    assert "ter" not in score_translations(hypotheses, references, word_pairs=8).figures
    assert score_translations(hypotheses, references, word_pairs=None).detail["left_out"] == {}


# The literature's BLEU


def test_moses_tokens_are_what_counts():
    """By hand: "L'homme" is l' homme for Moses in French, "rouge." is rouge . and case is ignored."""
    references, hypotheses = ["L'homme porte une veste rouge."], ["l'enfant PORTE une veste rouge."]
    found, signature = bleu_tokenised_lower(hypotheses, references, "fr")
    by_hand = 100 * (6 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25  # "l' enfant porte une veste rouge ." misses one word of 7
    assert found == pytest.approx(by_hand)
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:none|smooth:none|version:")
    assert signature.endswith("|prepared:lc.norm.moses-fr")


def test_punctuation_is_normalised_before_it_is_cut():
    assert bleu_tokenised_lower(['il dit "oui" et part...'], ["il dit “oui” et part…"], "fr")[0] == pytest.approx(100)


def test_it_has_no_smoothing():
    assert bleu_tokenised_lower(["a b c x"], ["a b c d"], "fr")[0] == 0.0
    assert score_translations(["a b c x"], ["a b c d"]).figures["bleu"] > 0


def test_perl_scripts_give_the_same_figure():
    """51.303, by Moses' Perl scripts and BLEU without smoothing on this very text (tokenizer.perl 1.1)."""
    references = multi30k()
    rng, words = random.Random(1), [w for r in references for w in r.split()]
    hypotheses = []
    for line in references:
        out = []
        for word in line.split():
            draw, kept = rng.random(), word
            if draw < 0.1:
                continue
            if draw < 0.2:
                kept = rng.choice(words)
            elif draw < 0.3:
                out.append(rng.choice(words))
            out.append(kept)
        hypotheses.append(" ".join(out))
    assert bleu_tokenised_lower(hypotheses, references, "fr")[0] == pytest.approx(51.30, abs=0.03)
