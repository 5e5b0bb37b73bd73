"""Results of studies whose true effects are known: outcomes are made of examples, with seeds and noise as runs have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forge.study.contrasts import full_grid
from forge.study.results import Declared, Result

FACTORS = {"feature": ("off", "cosine"), "attention": ("off", "attention_kl"), "response": ("off", "forward_kl")}
FIVE = (11, 12, 13, 14, 15)

CLASSIFICATION = Declared(
    "far", "classification", FACTORS, "accuracy", True, "points", FIVE, smallest_effect=0.5, combine="mean", scale=100.0
)
TRANSLATION = replace(CLASSIFICATION, task="translation", outcome="BLEU", combine="bleu", scale=1.0)
PAGES = replace(CLASSIFICATION, task="ocr", outcome="CER", higher_is_better=False, unit="% of text", combine="ratio")

HELPS = {("attention",): 1.9, ("response",): 0.6, ("attention", "response"): -0.5}


def results_of(declared, effects=HELPS, level=70.0, seed_noise=1.0, noise=0.4, examples=600, cells=None, luck=0):
    """One result for each cell and seed; `effects` are true ones in the outcome's unit, as contrasts have them."""
    rng = np.random.default_rng([luck, len(declared.task)])
    difficulty_N, found = rng.uniform(size=examples), []
    blocks = seed_noise * rng.standard_normal(len(declared.seeds))
    for cell in cells or full_grid(declared.factors):
        named = dict(zip(declared.factors, cell, strict=True))
        true = level + sum(size / 2 * _sign(declared, named, parts) for parts, size in effects.items())
        for block, seed in zip(blocks, declared.seeds, strict=True):
            skill = true + block + noise * rng.standard_normal()
            found.append(_result(declared, named, None, seed, skill, difficulty_N, rng))
    return found


def controls_of(declared, random_teacher=70.2, shuffled=69.6, examples=600, noise=0.6, luck=0):
    """Both controls for each seed."""
    rng = np.random.default_rng([luck, 99])
    difficulty_N, found = rng.uniform(size=examples), []
    for control, level in (("random_teacher", random_teacher), ("shuffled_logits", shuffled)):
        for seed in declared.seeds:
            skill = level + noise * rng.standard_normal()
            found.append(_result(declared, {}, control, seed, skill, difficulty_N, rng))
    return found


def exact(declared, outcome_of, seeds=None):
    """Results without examples: `outcome_of(cell, seed)` by a dictionary of levels."""
    grid = full_grid(declared.factors)
    cells = [dict(zip(declared.factors, cell, strict=True)) for cell in grid]
    return [
        Result(cell, None, seed, float(outcome_of(cell, seed)), {}, None)
        for cell in cells
        for seed in seeds or declared.seeds
    ]


def _sign(declared, named, parts):
    return np.prod([1 if named[part] != declared.factors[part][0] else -1 for part in parts])


def _result(declared, cell, control, seed, skill, difficulty_N, rng):
    sums_NK = MADE[declared.combine](skill, difficulty_N, rng)
    from forge.study.statistics.combine import combine

    outcome = declared.scale * float(combine(sums_NK.sum(0), declared.combine, len(sums_NK)))
    on = sum(level != declared.factors[factor][0] for factor, level in cell.items()) if cell else 1
    seconds = 9.0 + 0.6 * on + 0.2 * rng.random()
    alike = 0.88 + 0.015 * on + 0.01 * rng.standard_normal()
    measures = {"agreement": alike} if declared.task == "classification" else {"nearness": alike}
    measures |= {"cpu_seconds": seconds, "wall_seconds": seconds * 1.1, "steps": 200.0}
    return Result(cell, control, seed, outcome, measures, sums_NK)


def _right(skill, difficulty_N, rng):
    """1 for examples that a model of this accuracy gets right, mostly the easy ones."""
    shaken = np.clip(difficulty_N + 0.05 * rng.standard_normal(len(difficulty_N)), 0, 1)
    return (shaken < np.quantile(difficulty_N, np.clip(skill / 100, 0, 1)))[:, None].astype(np.float64)


def _characters(skill, difficulty_N, rng):
    """Errors and characters of pages, errors in the share `skill` percent."""
    lengths = 80 + np.round(difficulty_N * 300)
    return np.stack([rng.binomial(lengths.astype(int), skill / 100), lengths], axis=1).astype(np.float64)


def _ngrams(skill, difficulty_N, rng):
    """Statistics of BLEU near `skill`: each order is right with the same chance, given the one before."""
    lengths = 6 + (difficulty_N * 20).astype(int)
    totals = np.stack([lengths - order for order in range(4)], axis=1)
    shares = (skill / 100) ** (np.array([0.4, 0.8, 1.2, 1.6]))
    both = np.stack([lengths, lengths], axis=1)
    return np.concatenate([rng.binomial(totals, shares), totals, both], axis=1).astype(np.float64)


MADE = {"mean": _right, "ratio": _characters, "bleu": _ngrams}
