"""Language models as rewards: exact counts, a scale that real text sets, and what hacks get."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from forge.core.errors import UserError
from forge.tasks.rewards.base import Sample
from forge.tasks.rewards.fluency import Scale, causal_fluency, find_scale, token_nats, train_fluency
from forge.tasks.rewards.kneser_ney import END, UNKNOWN, KneserNey, words

DRAWN = random.Random(0)
SUBJECTS, VERBS = ["le chien", "la fille", "un homme", "mon ami"], ["voit", "aime", "cherche"]
OBJECTS = ["la mer .", "un livre .", "la ville ."]
LINES = [" ".join(DRAWN.choice(part) for part in (SUBJECTS, VERBS, OBJECTS)) for _ in range(400)]


def test_words() -> None:
    assert words("L'été, 12 ans.") == ["L", "'", "été", ",", "12", "ans", "."]
    assert words("") == []


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_add_up_to_1_in_every_context(order: int) -> None:
    model = KneserNey([words(line) for line in LINES[:60]], order)
    everything = [*sorted(model.vocabulary), UNKNOWN]
    for before in ([], ["le"], ["le", "chien"], ["chien", "voit", "la"], ["never", "seen"], ["la", "never"]):
        assert sum(model.probability(word, before) for word in everything) == pytest.approx(1.0, abs=1e-9)
        assert all(model.probability(word, before) > 0 for word in everything)


def test_probabilities_of_a_text_that_can_be_counted_by_hand() -> None:
    """Two sentences, "a b" and "a c": bigrams <s>a ×2, ab, ac, b</s>, c</s>."""
    model = KneserNey([["a", "b"], ["a", "c"]], order=2)
    bigrams = Counter({("<s>", "a"): 2, ("a", "b"): 1, ("a", "c"): 1, ("b", END): 1, ("c", END): 1})
    discount = 4 / (4 + 2 * 1)
    # unigrams count contexts: a 1, b 1, c 1, </s> 2; five bigrams in all; discount 3 / (3 + 2 · 1)
    low = 3 / (3 + 2)

    def unigram(contexts: int) -> float:
        return (max(contexts - low, 0) + low * 4 * (1 / 5)) / 5

    assert bigrams.total() == 6
    assert model.probability("b", ["a"]) == pytest.approx((1 - discount + discount * 2 * unigram(1)) / 2)
    assert model.probability("a", ["<s>"]) == pytest.approx((2 - discount + discount * 1 * unigram(1)) / 2)
    assert model.probability(END, ["b"]) == pytest.approx((1 - discount + discount * 1 * unigram(2)) / 1)
    assert model.probability("zebra", ["a"]) == pytest.approx((discount * 2 * unigram(0)) / 2)
    assert model.probability("b", ["zebra"]) == pytest.approx(unigram(1))


def test_what_follows_many_words_is_likelier_than_what_is_frequent_after_one() -> None:
    """Kneser-Ney's point: "francisco" is frequent and only ever after "san"."""
    text = [["san", "francisco"]] * 30 + [[f"w{at}", "city"] for at in range(10)]
    model = KneserNey(text, order=2)
    assert model.probability("city", ["new"]) > model.probability("francisco", ["new"])
    assert model.probability("francisco", ["san"]) > model.probability("city", ["san"])


def value(reward: Any, output: str) -> float:
    (found,) = reward([Sample(output)])
    assert found is not None
    return found


def test_fluency_and_its_hacks() -> None:
    reward = train_fluency(LINES)
    real = [value(reward, line) for line in LINES[:100]]
    assert sum(real) / len(real) > 0.8
    assert value(reward, "ville la mon . voit chien") < 0.2
    assert value(reward, "the dog sees the sea .") < 0.25
    assert value(reward, "le " * 30) < 0.3
    assert value(reward, "") == 0.0
    assert value(reward, "¿¡ §§ ††") < 0.1
    # The most usual text gets no more than real text, and a fluent one that says something else gets all: never alone.
    assert max(value(reward, line) for line in LINES) == 1.0
    assert value(reward, "le chien aime la mer .") > 0.95


def test_the_same_lines_give_the_same_reward() -> None:
    a, b = train_fluency(LINES), train_fluency(LINES)
    assert a.scale == b.scale
    assert [value(a, line) for line in LINES[:5]] == [value(b, line) for line in LINES[:5]]


def test_a_scale_is_straight_between_its_ends() -> None:
    scale = Scale(good=2.0, bad=4.0)
    assert [scale.of(nats) for nats in (0.0, 2.0, 3.0, 3.5, 4.0, 99.0)] == [1.0, 1.0, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (LINES[:10], "10 lines are too few"),
        (["un"] * 100, "no lines of three words"),
        ([" ".join(random.Random(at).sample(["a", "b", "c", "d", "e", "f"], 6)) for at in range(200)], "does not tell"),
    ],
)
def test_text_that_teaches_nothing_is_said_in_a_line(lines: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        train_fluency(lines)
    assert "\n" not in str(caught.value)


class Letters:
    """A tokenizer of letters."""

    eos_token_id = 0
    bos_token_id = None

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [1 + ord(sign) % 30 for sign in text]}


@pytest.fixture(scope="module")
def causal() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.6,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def test_nats_of_a_causal_model_do_not_depend_on_the_batch(causal: Any) -> None:
    texts = ["a", "bcd", "efghijkl", "m" * 200]
    alone = [token_nats(causal, Letters(), [text])[0] for text in texts]
    assert token_nats(causal, Letters(), texts) == pytest.approx(alone, rel=1e-4)
    assert token_nats(causal, Letters(), texts, batch=3) == pytest.approx(alone, rel=1e-4)
    ids = torch.tensor([[0, *Letters()("bcd", False)["input_ids"], 0]])
    whole = causal(input_ids=ids, labels=ids).loss.item()
    assert alone[1] == pytest.approx(whole, rel=1e-5)


def test_fluency_by_a_causal_model(causal: Any) -> None:
    lines = ["ab ab ab", "cd cd cd"]  # whose words have one order alone
    with pytest.raises(UserError, match="does not tell real text"):
        causal_fluency(causal, Letters(), lines)
    scale = find_scale(LINES, lambda texts: [float(text not in LINES) * 3 + 1 for text in texts])
    assert scale == Scale(1.0, 4.0)
    from forge.tasks.rewards.fluency import CausalFluency

    reward = CausalFluency(causal, Letters(), Scale(0.0, 10.0))
    found = reward([Sample("abc"), Sample(" "), Sample("zz")])
    assert found[1] == 0.0
    assert found[0] == pytest.approx(1 - token_nats(causal, Letters(), ["abc"])[0] / 10, rel=1e-5)
