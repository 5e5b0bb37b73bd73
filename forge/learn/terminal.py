"""The path in a terminal: keyboard alone, no colour needed, stopped and continued at any time."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from forge.core.errors import UserError
from forge.learn.cards import CARDS, PHASES
from forge.learn.course import Course, LockedError
from forge.learn.draw import draw
from forge.learn.questions import Value

WIDTH = 78
SIGNS = {"passed": "[x]", "tested-out": "[t]", "attempted": "[~]", "open": "[ ]", "locked": " - "}
LEGEND = "[x] passed  [t] tested out  [~] begun  [ ] open  - locked"
HELP = "Enter: go on  1.2: a lesson  g1: a gate  t1: test out of phase 1  w: words  q: leave"
LEAVE = {"q", "quit", "exit"}


class LeaveError(Exception):
    """The learner goes; everything is saved."""


class Terminal:
    """One learner at one keyboard."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self._live = sys.stdout.isatty()
        self._noted = ""

    def walk(self) -> None:
        """The map, and from there wherever the learner goes, until it is left."""
        _say("From Zero to Forge", "=" * 18)
        try:
            while True:
                view = self.course.view_map()
                self._map(view)
                word = _ask(f"{HELP}\n> ")
                self._go(word or view["next"] or "q", view)
        except LeaveError:
            _say("", "Your progress is saved. The same command goes on from here.")

    def test_out(self, phase: int) -> bool:
        """The quiz that takes a phase as known; whether it was passed."""
        try:
            return self._quiz(phase, test_out=True)
        except LeaveError:
            return False

    def _go(self, word: str, view: Mapping[str, Any]) -> None:
        numbers = {card.number: card.id for card in CARDS.values()}
        place = numbers.get(word, word)
        try:
            if place in CARDS:
                self._lesson(place)
            elif found := re.fullmatch(r"(g|t|gate-)([1-9])", place):
                self._quiz(int(found[2]), test_out=found[1] == "t")
            elif place == "w":
                _say("", *(f"{term}: {meaning}" for term, meaning in view["words"].items()))
            elif word in LEAVE:
                raise LeaveError
            else:
                _say(f"There is no '{word}'.")
        except LockedError as error:
            _say("", f"Locked. {error}")
        except UserError as error:
            _say("", str(error))

    def _map(self, view: Mapping[str, Any]) -> None:
        _say("", f"{view['passed']} of {view['lessons']} lessons done.", LEGEND)
        if view["notice"]:
            _say(view["notice"])
        for phase in view["phases"]:
            _say("", f"Phase {phase['number']}: {phase['title']}")
            if phase["locked"]:
                _say(f"  locked: {phase['locked']}")
                continue
            for entry in [*phase["lessons"], phase["gate"]]:
                here = "  <- next" if entry["id"] == view["next"] else ""
                why = f"  ({entry['locked']})" if entry["locked"] else ""
                _say(f"  {SIGNS[entry['status']]} {entry['number']:<4} {entry['title']}{here}{why}")
        _say("")

    def _lesson(self, name: str) -> None:
        view = self.course.view_lesson(name)
        _say("", f"{view['number']}  {view['title']}   ({view['phase']})", "-" * WIDTH, "")
        _say(plain(view["text"]), "")
        for term, meaning in view["terms"].items():
            _say(f"  {term}: {meaning}")
        links = view["links"]
        _say("", *(f"  {name + ':':<8}{path}" for name, path in links.items()))
        self._predict(name, view)
        while True:
            view = self.course.view_lesson(name)
            if view["passed"]:
                following = f" Next: {view['next']['title']}." if view["next"] else ""
                _say("", f"Lesson {view['number']} is passed.{following}")
                return
            part = next(part for part in view["check"] if not part["done"])
            self._part(name, view, part)

    def _predict(self, name: str, view: Mapping[str, Any]) -> None:
        prediction = view["prediction"]
        if prediction["made"] is not None:
            return
        _say("", "The experiment: " + view["about"], "", "What do you expect? " + prediction["ask"])
        choice = None
        while choice is None:
            choice = self._choose(prediction["choices"])
        self.course.predict(name, choice)

    def _part(self, name: str, view: Mapping[str, Any], part: Mapping[str, Any]) -> None:
        """One question until it is right, or the next look at the lesson."""
        self._help(part)
        _say("", ("Another question: " if part["varied"] else "Question: ") + part["ask"])
        if part["kind"] == "evidence" or view["record"] is None:
            self._run(name, view)
            fresh = next(p for p in self.course.view_lesson(name)["check"] if p["id"] == part["id"])
            if part["kind"] == "evidence" and fresh["verdict"]:
                _say("", ("Right. " if fresh["done"] else "Not yet. ") + fresh["verdict"]["text"])
            return
        answer = self._answer(part, "r: run the experiment again   q: leave")
        if answer == "r":
            self._run(name, view)
            return
        said = self.course.answer(name, part["id"], answer)
        _say("", {"right": "Right. ", "wrong": "Not quite. ", "untouched": ""}[said["state"]] + said["text"])

    def _help(self, part: Mapping[str, Any]) -> None:
        for number, hint in enumerate(part["hints"], 1):
            _say("", f"Hint {number}: {hint}")
        if part["worked"]:
            _say("", f"The answer, worked out: {part['worked']}")

    def _run(self, name: str, view: Mapping[str, Any]) -> None:
        values = {}
        _say("", "Choose, then the experiment runs. Enter keeps the value in brackets.")
        last = (view["record"] or {}).get("controls", {})
        for control in view["controls"]:
            start = last.get(control["name"], control["start"])
            values[control["name"]] = self._control(control, start)
        _say(f"Running. Budget: {view['budget_s']:g} s …")
        try:
            record = self.course.experiment(name, values, self._tell)
        except UserError as error:
            self._end_line()
            _say("", str(error))
            return
        self._end_line()
        result = record.result
        for picture in result.pictures:
            _say("", draw(picture.model_dump()), wrap=False)
        _say("", result.said, f"({record.seconds:.1f} s)")
        if result.command:
            _say("The same from the command line:", f"  {result.command}")
        made = self.course.store.read().lesson(name).prediction
        if made is not None and view["record"] is None:
            _say("", f"You expected: {view['prediction']['choices'][made]}", view["prediction"]["after"])

    def _control(self, control: Mapping[str, Any], start: Value) -> Value:
        while True:
            if control["kind"] == "pick":
                _say("", control["label"] + ":")
                at = control["options"].index(start) if start in control["options"] else 0
                chosen = self._choose(control["options"], default=at)
                if chosen is not None:
                    return str(control["options"][chosen])
                continue
            if control["kind"] == "words":
                return _words(control, str(start))
            word = _ask(f"{control['label']} ({control['min']:g} to {control['max']:g}) [{start}]: ")
            if not word:
                return start
            try:
                value = float(word.replace(",", "."))
            except ValueError:
                _say(f"'{word[:40]}' is not a number.")
                continue
            if control["min"] <= value <= control["max"]:
                return int(value) if value.is_integer() else value
            _say(f"It lies between {control['min']:g} and {control['max']:g}.")

    def _answer(self, question: Mapping[str, Any], also: str) -> Value | None:
        """A typed answer, the place of a choice, or the letter of another wish."""
        if question["kind"] != "choice":
            return _ask(f"{also}\nYour answer: ")
        for place, text in enumerate(question["choices"], 1):
            _say(f"  {place}  {text}")
        word = _ask(f"{also}\nYour choice: ")
        if word in {"r", ""}:
            return word or None
        chosen = _position(word, len(question["choices"]))
        if chosen is None:
            _say(f"Type a number from 1 to {len(question['choices'])}.")
        return chosen

    def _choose(self, options: list[str], default: int | None = None) -> int | None:
        for place, text in enumerate(options, 1):
            _say(f"  {place}  {text}")
        word = _ask(f"Your choice{f' [{default + 1}]' if default is not None else ''}: ")
        if not word and default is not None:
            return default
        chosen = _position(word, len(options))
        if chosen is None:
            _say(f"Type a number from 1 to {len(options)}.")
        return chosen

    def _quiz(self, phase: int, test_out: bool) -> bool:
        view = self.course.view_quiz(phase, test_out)
        name = f"Testing out of phase {phase}" if test_out else f"Gate of phase {phase}"
        questions = view["questions"]
        _say("", f"{name}: {view['title']}. {view['needed']} of {len(questions)} must be right.", "-" * WIDTH)
        answers: list[Value | None] = []
        for place, question in enumerate(questions, 1):
            answer = None
            while answer is None:
                _say("", f"{place}. {question['ask']}")
                answer = self._answer(question, "q: leave")
                answer = None if answer in ("", "r") else answer
            answers.append(answer)
        said = self.course.answer_quiz(phase, test_out, answers)
        for place, (question, verdict) in enumerate(zip(questions, said["verdicts"], strict=True), 1):
            sign = "right" if verdict["state"] == "right" else "wrong"
            _say("", f"{place}. {question['ask']}", f"   {sign}: {verdict['text']}")
        _say("", f"{said['right']} of {said['of']} right: {'passed' if said['passed'] else 'not passed, try again'}.")
        return bool(said["passed"])

    def _tell(self, event: Mapping[str, Any]) -> None:
        """Progress: one line that moves on a terminal, a line for each new stage elsewhere."""
        if event["event"] != "progress":
            return
        note = str(event["note"])
        if self._live:
            bar = "#" * round(20 * event["done"])
            sys.stdout.write(f"\r[{bar:<20}] {note[:52]:<52}")
            sys.stdout.flush()
        elif note.partition(":")[0] != self._noted:
            self._noted = note.partition(":")[0]
            _say(f"  … {self._noted}")

    def _end_line(self) -> None:
        if self._live:
            sys.stdout.write("\n")


def plain(markdown: str) -> str:
    """A lesson's text without its marks: bold words stand in capitals' place between stars."""
    blocks = []
    for block in re.split(r"\n\s*\n", markdown):
        if block.startswith("```"):
            blocks.append("\n".join(f"    {line}" for line in block.strip("`\n").splitlines()))
        elif block.startswith(">"):
            text = " ".join(line.lstrip("> ") for line in block.splitlines())
            blocks.append(textwrap.fill(_marks(text), WIDTH, initial_indent="    ", subsequent_indent="    "))
        elif re.match(r"[-*] |\d+\. ", block):
            items = re.split(r"\n(?=[-*] |\d+\. )", block)
            blocks.append("\n".join(textwrap.fill(_marks(i), WIDTH, subsequent_indent="  ") for i in items))
        else:
            blocks.append(textwrap.fill(_marks(block.lstrip("# ")), WIDTH))
    return "\n\n".join(blocks)


def _marks(text: str) -> str:
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    text = re.sub(r"\*\*([^*]+)\*\*", lambda found: found[1].upper(), text)
    return re.sub(r"(?<!\w)\*([^*]+)\*(?!\w)", r"\1", text).replace("`", "")


def _position(word: str, count: int) -> int | None:
    return int(word) - 1 if word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= count else None


def _say(*lines: str, wrap: bool = True) -> None:
    for line in lines:
        long = wrap and "\n" not in line and len(line) > WIDTH
        indent = " " * (len(line) - len(line.lstrip()))
        text = textwrap.fill(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
        sys.stdout.write((text if long else line) + "\n")
    sys.stdout.flush()


def _ask(prompt: str) -> str:
    """One line from the keyboard. Raises LeaveError at the end of input and where the learner says so."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line or line.strip().lower() in LEAVE:
        raise LeaveError
    return line.strip()


def _words(control: Mapping[str, Any], start: str) -> str:
    """A text of one line, or of several that an empty one ends; nothing typed keeps what was there."""
    if control["lines"] == 1:
        return _ask(f"{control['label']} [{start}]: ") or start
    _say("", f"{control['label']} (Enter keeps it; else type all of it, and an empty line at the end):")
    _say(*(f"    {line}" for line in start.splitlines()), wrap=False)
    first = _ask("  > ")
    return "\n".join([first, *_lines(control["lines"] - 1)]) if first else start


def _lines(most: int) -> Iterator[str]:
    """Further lines as they are typed, blanks before them too, up to an empty one."""
    for _ in range(most):
        sys.stdout.write("  > ")
        sys.stdout.flush()
        line = sys.stdin.readline().rstrip()
        if not line:
            return
        yield line


def ask_reset() -> bool:
    """Whether the learner means it."""
    _say(f"This forgets all progress in {len(PHASES)} phases. Experiments' runs stay.")
    try:
        return _ask("Type yes to go on: ").lower() == "yes"
    except LeaveError:
        return False
