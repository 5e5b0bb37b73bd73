"""Scores as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge.tasks.metrics.significance import BOOTSTRAP, MCNEMAR, RANDOMISATION, RESAMPLES, SEED

ABOUT = {
    "length_ratio": "tokens of the hypotheses over those of the references",
    "loss": "of the references, nats a token",
}
ABOUT_PAGES = {
    "cer": "edits a character, over all pages",
    "wer": "edits a word, over all pages",
}
ODD_PAGES = {
    "blank_with_text": "blank pages got text",
    "nothing_read": "pages got none",
    "loops": "pages end in a loop",
    "cut_off": "pages were cut off, since their texts did not end",
    "invented_tables": "pages have more tables than there are",
}
MOST_SHOWN = 5
TRIALS_OF = {RANDOMISATION: "trials", MCNEMAR: "examples on which one alone is right"}


def scores_table(figures: Mapping[str, float], detail: Mapping[str, Any]) -> str:
    """Figures, the per-class table and the confusion matrix."""
    lines = ["  ".join(f"{name} {value:.4f}" for name, value in figures.items()) + f"  ({detail['examples']} examples)"]
    names: list[str] = detail["labels"]
    width = max(len("true \\ predicted"), *(len(name) for name in names))
    lines += ["", f"{'class':<{width}}  precision  recall      F1  examples"]
    for name in names:
        row = detail["per_class"][name]
        lines.append(
            f"{name:<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  {row['support']:8d}"
        )
    cells = [max(len(name), 6) for name in names]
    head = "  ".join(f"{name:>{cell}}" for name, cell in zip(names, cells, strict=True))
    lines += ["", "true \\ predicted".ljust(width) + "  " + head]
    for name, counts in zip(names, detail["confusion"], strict=True):
        body = "  ".join(f"{count:>{cell}}" for count, cell in zip(counts, cells, strict=True))
        lines.append(f"{name:<{width}}  {body}")
    return "\n".join(lines)


def translations_table(found: Mapping[str, Any]) -> str:
    """Translations in text files: each system's figures with their signatures, then the tests of their difference."""
    lines = []
    for name, system in found["systems"].items():
        lines.append(f"{name}  ({system['examples']:,} lines, references {found['references']})")
        lines += system_lines(system)
    if "comparisons" in found:
        names = list(found["systems"])  # one where a file is compared with itself
        ours, theirs = names[0], names[-1]
        lines += ["", f"A = {ours}", f"B = {theirs}", comparison_table(found["comparisons"])]
    return "\n".join(lines)


def measured_table(found: Mapping[str, Any]) -> str:
    """A translation run, measured: the figures of each split with their signatures."""
    lines = [f"{found['checkpoint']} of {found['run']}, {_search(found['beams'])}"]
    for name, system in found["splits"].items():
        lines += [f"{name}  ({system['examples']:,} examples)", *system_lines(system)]
    return "\n".join(lines)


def system_lines(system: Mapping[str, Any]) -> list[str]:
    """The figures of translations, a line each with its signature, and what explains them."""
    lines, tokens = [], system["tokens"]
    for figure, value in system["figures"].items():
        about = system["signatures"].get(figure) or ABOUT.get(figure, "")
        lines.append(f"  {figure:<20} {value:9.4f}  {about}".rstrip())
    lines.append(
        f"  BLEU's parts: {' / '.join(f'{value:.1f}' for value in system['precisions'])}, brevity penalty "
        f"{system['brevity_penalty']:.3f}, {tokens['hypothesis']:,} tokens for {tokens['reference']:,}"
    )
    return lines + [f"  {figure} is left out: {why}" for figure, why in system["left_out"].items()]


def pages_table(found: Mapping[str, Any]) -> str:
    """A page reader, measured: the figures of each split."""
    lines = [f"{found['checkpoint']} of {found['run']}, {_search(found['beams'])}"]
    for name, system in found["splits"].items():
        lines += [f"{name}  ({system['pages']:,} pages, {system['characters']:,} characters)", *page_lines(system)]
    return "\n".join(lines)


def page_lines(system: Mapping[str, Any]) -> list[str]:
    """The figures of pages that were read, a line each, and what explains them."""
    lines = []
    for figure, value in system["figures"].items():
        pages = system["measured"].get(figure)
        about = ABOUT_PAGES.get(figure) or (f"mean of {pages:,} pages" if pages else ABOUT.get(figure, ""))
        lines.append(f"  {figure:<20} {value:9.4f}  {about}".rstrip())
    worst = [f"{page['page']} ({page['cer']:.2f})" for page in system["worst"][:MOST_SHOWN]]
    lines += [f"  worst pages (CER): {', '.join(worst)}"] if worst else []
    for name, about in ODD_PAGES.items():
        if odd := [one if isinstance(one, str) else one["page"] for one in system.get(name, ())]:
            more = f" and {len(odd) - MOST_SHOWN:,} more" if len(odd) > MOST_SHOWN else ""
            lines.append(f"  {len(odd):,} {about}: {', '.join(odd[:MOST_SHOWN])}{more}")
    return lines


def checks_table(found: Mapping[str, Any]) -> str:
    """Checks of pages: their rate with its interval, by file and by type, and what is in none of these."""
    search = f", {_search(found['beams'])}" if "beams" in found else ""
    pages, interval = found["pages"], found["interval"]
    lines = [f"{found['of']}{search}"]
    if "pass_rate" in found["figures"]:
        low, high = interval
        of = f"mean over {len(found['files'])} files" if len(found["files"]) > 1 else "one file"
        lines.append(f"pass_rate {found['figures']['pass_rate']:.4f}  95 % [{low:.4f}, {high:.4f}], {of}")
    for kind in ("files", "types"):
        width = max(map(len, found[kind]), default=0) + 2
        lines += ["", f"{kind[:-1]:<{max(width, 10)}}    rate  passed  checks"]
        for name, row in found[kind].items():
            rate = f"{row['pass_rate']:8.4f}{row['passed']:8,d}{row['checks']:8,d}"
            lines.append(f"{name:<{max(width, 10)}}{rate}")
    lines += ["", f"{pages['read']:,} of {pages['asked']:,} pages have a text; checks of the others fail"]
    lines += [f"  {name}" for name in pages["missing"][:MOST_SHOWN]]
    if (more := len(pages["missing"]) - MOST_SHOWN) > 0:
        lines.append(f"  and {more:,} more")
    for kind, why in found.get("left_out", {}).items():
        lines.append(f"checks of type {kind} are in no rate: {why}; to compare them needs a browser")
    return "\n".join(lines)


def _search(beams: int) -> str:
    return "greedy" if beams == 1 else f"{beams} beams"


def comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Tests of the difference between two systems A and B, a line each."""
    lines = [f"{'figure':<10}{'A':>10}{'B':>10}{'A - B':>10}  {'95 % interval':<22}{'p':>8}  test"]
    for one in comparisons:
        low, high = one["interval"]
        drawn = f"{one['trials']:,} {TRIALS_OF.get(one['test'], 'resamples')}"
        seed = "" if one["seed"] is None else f", seed {one['seed']}"
        interval = f"[{low:+.4f}, {high:+.4f}]"
        lines.append(
            f"{one['figure']:<10}{one['value']:>10.4f}{one['baseline']:>10.4f}{one['delta']:>+10.4f}  {interval:<22}"
            f"{one['p']:>8.4f}  {one['test']}, {drawn}{seed}"
        )
    if any(one["test"] == BOOTSTRAP for one in comparisons):
        lines.append("judge by the randomisation: the bootstrap's p, as papers report it, is too small (decision 017)")
    return "\n".join([*lines, f"the interval is of A - B: paired bootstrap, {RESAMPLES:,} resamples, seed {SEED}"])
