"""Runs of words, numbers, dates and random strings, as sentences, cells and headings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from forge.tasks.embedded.page_blocks import Span
from forge.tasks.embedded.page_words import Chance, unaccented, words

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS_AND_DIGITS = f"{_LETTERS}{_LETTERS}0123456789"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_AFTER = {"": 80.0, ",": 11, ";": 2, ":": 2, "!": 1.5, "?": 1.5}
_ENDS = {".": 84.0, "!": 8, "?": 8}
_ENDS_OF_LINES = {"": 60.0, ".": 22, ",": 10, "!": 4, "?": 4}
_FILES = ("conf", "deb", "txt", "h", "py", "gz", "xml", "d", "log", "tar.gz")
_NAMES = (  # a and b are words
    *("/{a}", "/{a}/{b}", "/{a}/{b}/", "/{a}/{b}.{end}", "{a}/{b}", "{a}.{end}", "~/{a}", "{a}_{b}", "{a}-{b}"),
    *("-{a}", "--{a}", "–{a}", "--{a}-{b}", "${A}", "${{{A}}}", "@{a}", "&{a}", "\\{a}", "{a}-{v}", "{v}", "{v}.{n}"),
    *("<{a}>", "[{a}]", "{{{a}}}", "({a})", "“{a}”", '"{a}"', "'{a}'", "{a}({n})", "{a}’s", "{a}’t", "{a}_{b}_{n}"),
    *("{a}@{b}.org", "<{a}@{b}.org>", "http://{a}.org/", "http://{a}.org/~{b}", "https://{a}.org/{b}/"),
)


@dataclass(frozen=True)
class Mix:
    """What share of the tokens is what; the rest are words."""

    numbers: float
    strings: float
    names: float = 0.0  # of files, options, packages, addresses: what manuals are full of
    running: float = 0.0  # share of lines that do not begin a sentence
    unaccented: float = 0.0  # share of pages whose words have no accents


class Writer:
    """Writes with the words of one split."""

    def __init__(self, draw: Chance, split: str, mix: Mix) -> None:
        self.draw = draw
        self._mix = mix
        self._words = words(split)
        if mix.unaccented and draw.random() < mix.unaccented:
            self._words = unaccented(split)

    def word(self) -> str:
        """A word, now and then with a capital or in capitals."""
        word, drawn = self.draw.one(self._words), self.draw.random()
        return word if drawn > 0.14 else word.upper() if drawn < 0.02 else word.capitalize()

    def number(self) -> str:
        """A number, a share, an amount, a date or a time."""
        draw = self.draw
        match draw.whole(0, 11):
            case 0:
                return f"{draw.whole(1, 999)}.{draw.whole(0, 99):02d}"
            case 1:
                return f"{draw.whole(1, 999)},{draw.whole(0, 999):03d}"
            case 2:
                return f"{draw.whole(0, 100)}%"
            case 3:
                return f"€{draw.whole(1, 999)}.{draw.whole(0, 99):02d}"
            case 4:
                return f"{draw.whole(1, 28):02d}/{draw.whole(1, 12):02d}/{draw.whole(1900, 2099)}"
            case 5:
                return f"{draw.whole(1900, 2099)}-{draw.whole(1, 12):02d}-{draw.whole(1, 28):02d}"
            case 6:
                return f"{draw.whole(0, 23):02d}:{draw.whole(0, 59):02d}"
            case 7:
                return f"{draw.whole(1, 28)} {draw.one(_MONTHS)} {draw.whole(1900, 2099)}"
            case 8:
                return draw.one("+-#=") + str(draw.whole(1, 999))
        return str(int(10 ** draw.between(0, 6)))

    def string(self) -> str:
        """Letters and digits that mean nothing: what no model of a language can guess. A letter comes first."""
        rest = "".join(self.draw.one(_LETTERS_AND_DIGITS) for _ in range(self.draw.whole(2, 8)))
        return self.draw.one(_LETTERS) + rest

    def name(self) -> str:
        """A path, an option, an address, a variable, two words with a hyphen: as manuals of programs have them."""
        draw = self.draw
        one, two = draw.one(self._words), draw.one(self._words)
        form, version = draw.one(_NAMES), f"{draw.whole(0, 12)}.{draw.whole(0, 20)}"
        return form.format(a=one, b=two, A=one.upper(), n=draw.whole(1, 8), v=version, end=draw.one(_FILES))

    def token(self) -> str:
        """A word, a number, a string or a name."""
        drawn, mix = self.draw.random(), self._mix
        if drawn < mix.numbers:
            return self.number()
        if drawn < mix.numbers + mix.strings:
            return self.string()
        return self.name() if drawn < mix.numbers + mix.strings + mix.names else self.word()

    def plain(self, least: int, most: int) -> str:
        """So many tokens. None of them is a mark of a list: a number is never followed by a point."""
        return " ".join(self.token() for _ in range(self.draw.whole(least, most)))

    def line(self, least: int, most: int) -> str:
        """So many tokens with their punctuation."""
        count = self.draw.whole(least, most)
        if self._mix.running and self.draw.random() < self._mix.running:
            return self._piece(count)
        return "".join(span.text for span in self._sentence(count, 0.0, _ENDS_OF_LINES))

    def _piece(self, count: int) -> str:
        """A line out of the middle of a text: it begins anyhow, and may end in half a word."""
        draw = self.draw
        tokens = [token + (draw.weighted(_AFTER) if draw.random() < 0.6 else "") for token in self._tokens(count)]
        tokens[-1] += draw.weighted({"": 8.0, "-": 1, ".": 1})
        return draw.weighted({"": 20.0, "• ": 1, "- ": 0.5}) + " ".join(tokens)

    def prose(self, least: int, most: int) -> tuple[Span, ...]:
        """Spans of sentences of so many tokens together, now and then emphasised."""
        left, spans = self.draw.whole(least, most), list[Span]()
        while left > 0:
            count = min(self.draw.whole(4, 12), left)
            spans += [Span(" ")] if spans else []
            spans += self._sentence(count, 0.4, _ENDS)
            left -= count
        return joined(spans)

    def _sentence(self, count: int, emphasis: float, ends_in: dict[str, float]) -> Iterator[Span]:
        draw = self.draw
        begins, ends = self._emphasised(count, emphasis)
        bold = draw.random() < 0.6
        for index, token in enumerate(self._first_capital(count)):
            inside = begins <= index < ends
            yield Span(" " if index else "", bold and inside and index > begins, not bold and inside and index > begins)
            yield Span(token, bold and inside, not bold and inside)
            after = draw.weighted(ends_in if index == count - 1 else _AFTER)
            if not token[0].isdigit() and not (inside and index < ends - 1):
                yield Span(after)

    def _first_capital(self, count: int) -> Iterator[str]:
        first = self.plain(1, 1)
        yield first[0].upper() + first[1:]
        yield from self._tokens(count - 1)

    def _tokens(self, count: int) -> Iterator[str]:
        for _ in range(count):
            token, drawn = self.token(), self.draw.random()
            yield f"({token})" if drawn < 0.03 else f'"{token}"' if drawn < 0.05 else self._elided(token)

    def _elided(self, token: str) -> str:
        if token[0] in "aeiouéè" and self.draw.random() < 0.25:
            return f"{self.draw.one(('l', 'd', 'qu'))}'{token}"
        return token

    def _emphasised(self, count: int, share: float) -> tuple[int, int]:
        """From which token to which; a sentence is never emphasised as a whole."""
        if count < 3 or self.draw.random() >= share:
            return 0, 0
        length = self.draw.whole(1, min(3, count - 2))
        start = self.draw.whole(1, count - length - 1)
        return start, start + length


def joined(spans: list[Span]) -> tuple[Span, ...]:
    """Neighbours of one style as one span."""
    out: list[Span] = []
    for span in spans:
        if not span.text:
            continue
        if out and (out[-1].bold, out[-1].italic) == (span.bold, span.italic):
            out[-1] = Span(out[-1].text + span.text, span.bold, span.italic)
        else:
            out.append(span)
    return tuple(out)
