"""A second reading of the embedded French: a small grammar checker that shares nothing with the generator.

It knows genders, the four forms of each adjective, participles and infinitives, all written out by hand here, and takes
every word that it does not know for a finite verb, whose ending must then fit the subject it finds. `errors` lists what
a teacher would mark in one sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


def _words(table: str) -> list[str]:
    return table.split()


MASCULINE = """Conseil Parlement groupe gouvernement ministre rapporteur commissaire député expert agriculteur citoyen
pays rapport règlement amendement accord programme plan budget texte traité avis compromis objectif choix outil débat
vote sommet représentant État"""
FEMININE = """Commission commission Union Cour délégation autorité agence entreprise région proposition directive
résolution stratégie décision loi réforme politique mesure initiative priorité règle idée feuille analyse étude réunion
conférence élection"""
GENDERS = dict.fromkeys(MASCULINE.lower().split(), "m") | dict.fromkeys(FEMININE.lower().split(), "f")
INVARIABLE = {"pays", "avis", "compromis", "choix"}
TAILS = re.compile(
    r"\b(feuilles?) de route|\b(plans?) d'action|\b(programmes?) de travail|\b(cour) des comptes"
    r"|\b(états?) membres?"
)
ADJECTIVES = [
    row.split()
    for row in """
nouveau nouvelle nouveaux nouvelles
nouvel - - -
vieux vieille vieux vieilles
vieil - - -
ancien ancienne anciens anciennes
bon bonne bons bonnes
grand grande grands grandes
petit petite petits petites
vrai vraie vrais vraies
long longue longs longues
- - nombreux nombreuses
européen européenne européens européennes
français française français françaises
national nationale nationaux nationales
social sociale sociaux sociales
régional régionale régionaux régionales
économique économique économiques économiques
public publique publics publiques
commun commune communs communes
clair claire clairs claires
ambitieux ambitieuse ambitieux ambitieuses
sérieux sérieuse sérieux sérieuses
efficace efficace efficaces efficaces
nécessaire nécessaire nécessaires nécessaires
important importante importants importantes
précis précise précis précises
complet complète complets complètes
positif positive positifs positives
prêt prête prêts prêtes
prudent prudente prudents prudentes
actif active actifs actives
haut haute hauts hautes
""".strip().splitlines()
]
FRONT = {word for row in ADJECTIVES[:11] for word in row}
SLOTS = (("m", 1), ("f", 1), ("m", 2), ("f", 2))
_ASK_FOR_DE = {"faveur", "compte", "besoin"}
FORMS: dict[str, set[tuple[str, int]]] = {}
for row in ADJECTIVES:
    for word, slot in zip(row, SLOTS, strict=True):
        FORMS.setdefault(word, set()).add(slot)
PARTICIPLES = _words("""
adopté rejeté approuvé examiné défendu modifié signé publié financé appliqué préparé annoncé bloqué accepté
salué évalué simplifié amélioré proposé suivi défini introduit traduit maintenu obtenu choisi oublié utilisé
harmonisé reçu renforcé compris connu expliqué envoyé soumis présenté répondu mis contribué participé tenu eu
parlé voté remercié félicité consulté convaincu protégé aidé soutenu critiqué écouté agi hésité réussi
travaillé arrivé parti revenu entré dit été""")
INFINITIVES = _words("""
adopter rejeter approuver examiner défendre modifier signer publier financer appliquer préparer annoncer
bloquer accepter saluer évaluer simplifier améliorer proposer suivre définir introduire traduire maintenir
obtenir choisir oublier utiliser harmoniser recevoir renforcer comprendre connaître expliquer envoyer
soumettre présenter répondre mettre contribuer participer tenir avoir parler voter remercier féliciter
consulter convaincre protéger aider soutenir critiquer écouter agir hésiter réussir travailler arriver partir
revenir entrer être""")
ETRE = {
    *_words("""
est sommes êtes sont étais était étions étiez étaient sera serons serez seront serait serions seriez seraient
soit soyons soyez soient été être""")
}
AVOIR = {
    *_words("""
ai a avons avez ont aie ait ayons ayez aient""")
}
FUNCTION = {
    *_words("""
fin compte besoin lieu raison tort vigueur faveur ne n' pas plus jamais y en me m' lui leur le la l' les que
qu' qui dont de d' du des à au aux par et mais parce bien si s' quand pourquoi comment encore très trop
vraiment moins aussi également souvent clairement toujours rapidement déjà""")
}
DETERMINERS: dict[str, set[tuple[str, int]]] = {
    "le": {("m", 1)},
    "la": {("f", 1)},
    "l'": {("m", 1), ("f", 1)},
    "du": {("m", 1)},
    "au": {("m", 1)},
    "un": {("m", 1)},
    "une": {("f", 1)},
    "ce": {("m", 1)},
    "cet": {("m", 1)},
    "cette": {("f", 1)},
    "aucun": {("m", 1)},
    "aucune": {("f", 1)},
    "quel": {("m", 1)},
    "quelle": {("f", 1)},
    "quels": {("m", 2)},
    "quelles": {("f", 2)},
    "tous": {("m", 2)},
    "toutes": {("f", 2)},
}
ANY = {("m", 1), ("f", 1)}
MANY = {("m", 2), ("f", 2)}
DETERMINERS |= dict.fromkeys(["notre", "votre", "leur", "chaque"], ANY)
DETERMINERS |= {f"{letter}on": {("m", 1), ("f", 1)} for letter in "ms"} | {f"{letter}a": {("f", 1)} for letter in "ms"}
DETERMINERS |= dict.fromkeys(
    _words("""
les des aux ces mes ses nos vos leurs plusieurs"""),
    MANY,
)
DETERMINERS |= dict.fromkeys(("de", "d'"), ANY | MANY)
_TENS = ["vingt", "trente", "quarante", "cinquante", "soixante", "quatre-vingt"]
_UNITS = _words(
    """deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit"""
)
_UNITS += ["dix-neuf"]
NUMBERS = {*_UNITS, *_TENS, "quatre-vingts", *(f"{t}-{u}" for t in _TENS for u in [*_UNITS, "un", "une"])}
SUBJECTS = {"je": 0, "j'": 0, "il": 2, "elle": 2, "nous": 3, "vous": 4, "ils": 5, "elles": 5}
# What stands outside the clause, or is fixed: none of it agrees with anything.
FIXED = [
    "monsieur le président, |madame la présidente, |monsieur le commissaire, |madame la commissaire, ",
    "mesdames et messieurs, |chers collègues, |bien sûr, |en d'autres termes, |en même temps, |tout d'abord, ",
    "en revanche, |à mon avis, |pour cette raison, |malheureusement, |enfin, |cependant, |c'est pourquoi ",
    r" (hier|aujourd'hui|demain|lundi|jeudi|cette semaine|cette année|l'année (dernière|prochaine))\b",
    r" (le mois|la semaine) (dernier|dernière|prochain|prochaine)\b| dès que possible| avant la fin de l'année",
    r" à (bruxelles|strasbourg|luxembourg)| en (france|allemagne|italie)| au (portugal|danemark)| aux pays-bas",
    r" en \d{4}| (depuis|dans) [a-z]+ ans",
    r"\bil (est (important|nécessaire|temps)(?= (que|qu|de|d)\b)|(y|n'y) (avait|aura|a)( pas)?( eu)?)",
]
_FIXED = re.compile("|".join(FIXED), flags=re.IGNORECASE)
_ASPIRATED = ("haut", "huit", "onze")
_ELIDES = {"le", "la", "de", "que", "ne", "je", "me"}


def opens(word: str) -> bool:
    """Whether the word begins with a vowel sound."""
    return word[0].lower() in "aeiouyhâàéèêîôœ" and not word.lower().startswith(_ASPIRATED)


@dataclass
class Phrase:
    """A noun with what belongs to it."""

    slot: tuple[str, int]
    first: int
    last: int


@dataclass
class Checker:
    """The words of one sentence and what is wrong with them."""

    words: list[str]
    found: list[str] = field(default_factory=list)
    phrases: list[Phrase] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    def noun(self, word: str) -> tuple[str, int] | None:
        if word in GENDERS:
            return GENDERS[word], 1
        singular = word[:-1] if word.endswith("s") else ""
        return (GENDERS[singular], 2) if singular in GENDERS and singular not in INVARIABLE else None

    def read_phrases(self) -> None:
        for i, word in enumerate(self.words):
            verb = word == "vote" and not (i and (self.words[i - 1] in DETERMINERS or self.words[i - 1] in FRONT))
            if not verb and (slot := self.noun(word)):
                self.phrases.append(self.phrase(i, word, slot))
        for i, word in enumerate(self.words):
            if word in NUMBERS and not any(p.first <= i <= p.last for p in self.phrases):
                self.found.append(f"number {word} without noun")

    def phrase(self, at: int, noun: str, slot: tuple[str, int]) -> Phrase:
        first, last = at - 1, at + 1
        while first >= 0 and self.words[first] in FORMS:
            first -= 1
        while last < len(self.words) and self.words[last] in FORMS:
            last += 1
        front, behind = range(first + 1, at), range(at + 1, last)
        counted = self.number(first)
        first, many = counted, counted != first
        determiner = self.words[first].lower() if first >= 0 else ""
        allowed = DETERMINERS.get(determiner)
        if noun in INVARIABLE:  # what stands beside it tells the number
            beside = [FORMS[self.words[i]] for i in (*front, *behind)]
            plural = many or (allowed or MANY) <= MANY or (allowed == (ANY | MANY) and any(f <= MANY for f in beside))
            slot = (slot[0], 2 if plural else 1)
        if (allowed is None and not (many or self.many(front))) or (many and slot[1] == 1):
            self.found.append(f"{noun} has no determiner, or a number that does not fit")
        elif allowed is not None and slot not in allowed:
            self.found.append(f"{determiner} … {noun}")
        self.fit_next(determiner, self.words[first + 1], slot)
        for i in (*front, *behind):
            self.used.add(i)
            if slot not in FORMS[self.words[i]]:
                self.found.append(f"{noun} with {self.words[i]}")
        if first > 0 and self.words[first - 1].lower() in {"tous", "toutes"}:
            first = self.fit_all(first, slot)
        if determiner == "des" and front and not self.contracted(first):
            self.found.append(f"des {self.words[front[0]]} instead of de")
        for i in front:
            self.fit_next(self.words[i], self.words[i + 1], slot)
        return Phrase(slot, first if allowed else first + 1, last - 1)

    def many(self, front: range) -> bool:
        return any(self.words[i] == "nombreux" or self.words[i] == "nombreuses" for i in front)

    def ends_phrase(self, at: int) -> bool:
        return any(phrase.last == at for phrase in self.phrases)

    def contracted(self, first: int) -> bool:
        """Whether this des is de and les: after a word that asks for de."""
        near = self.words[max(first - 4, 0) : first]
        return any(word in _ASK_FOR_DE or (word.startswith("parl") and word != "parlement") for word in near)

    def number(self, at: int) -> int:
        """The place before the number that ends here."""
        if at >= 0 and self.words[at] in {"un", "une", "onze"} and at >= 2 and self.words[at - 1] == "et":
            return at - 3 if self.words[at - 2].lower() in NUMBERS else at
        return at - 1 if at >= 0 and self.words[at].lower() in NUMBERS else at

    def fit_all(self, first: int, slot: tuple[str, int]) -> int:
        whole = self.words[first - 1].lower()
        if self.words[first] != "les" or slot not in DETERMINERS[whole]:
            self.found.append(f"{whole} {self.words[first]}")
        return first - 1

    def fit_next(self, word: str, following: str, slot: tuple[str, int]) -> None:
        vowel = opens(following)
        wrong = word in {"ce", "ma", "sa", "du", "au"} and vowel
        wrong |= word in {"cet", "nouvel", "vieil"} and not vowel
        wrong |= word == "nouveau" and vowel
        wrong |= word in {"son", "mon"} and slot[0] == "f" and not vowel
        if wrong:
            self.found.append(f"{word} {following}")

    def elision(self) -> None:
        for word, following in zip(self.words, self.words[1:], strict=False):
            low = word.lower()
            if (low in _ELIDES and opens(following)) or (low == "si" and following in {"il", "ils"}):
                self.found.append(f"no elision: {word} {following}")
            if low.endswith("'") and low != "s'" and not opens(following):
                self.found.append(f"elision: {word} {following}")
        for phrase in self.phrases:
            before = self.words[phrase.first - 1].lower() if phrase.first > 0 else ""
            if before in {"de", "à"} and self.words[phrase.first] in {"le", "les"}:
                self.found.append(f"{before} {self.words[phrase.first]}")

    def negation(self) -> None:
        said = [word for word in self.words if word in {"ne", "n'"}]
        sure = [word for word in self.words if word in {"pas", "jamais", "aucun", "aucune"}]
        if not len(sure) <= len(said) <= len(sure) + self.words.count("plus"):
            self.found.append("negation")

    # --- verbs

    def read_clauses(self, addressed: tuple[str, int] | None) -> None:
        self.addressed = addressed
        self.reset()
        self.earlier: Phrase | None = None
        starts = {phrase.first: phrase for phrase in self.phrases}
        at = 0
        while at < len(self.words):
            if at in starts:
                self.meet(starts[at])
                at = starts[at].last + 1
                continue
            self.word(at, self.words[at].lower())
            at += 1

    def reset(self) -> None:
        """A new clause begins."""
        self.subject: tuple[int, tuple[str, int] | None] | None = None
        self.relative: Phrase | None = None
        self.resumed: Phrase | None = None
        self.helper, self.spent = "", 0
        self.clitics: list[str] = []
        self.lead: tuple[str, int] | None = None

    def meet(self, phrase: Phrase) -> None:
        owner = phrase.first > 0 and (self.words[phrase.first] == "du" or self.words[phrase.first - 1] == "de")
        before = phrase.first - (1 if self.words[phrase.first - 1] == "de" else 0) - 1
        if owner and self.ends_phrase(before):
            return
        if self.words[phrase.first].lower().startswith("quel"):
            self.lead = phrase.slot
        if not self.resumed:
            self.subject = _third(phrase.slot)
        self.earlier = self.earlier or phrase

    def word(self, at: int, word: str) -> None:
        if word in {",", "et", "mais", "parce", "bien", "si", "s'", "quand", "pourquoi", "comment"}:
            self.reset()
        elif word in {"que", "qu'", "qui", "dont"}:
            self.link(at, word)
        elif word in SUBJECTS and (self.subject is None or word not in {"nous", "vous"}):
            self.subject = (SUBJECTS[word], self.addressed if word == "vous" else _SLOTS.get(word))
        elif word in {"le", "la", "l'", "les", "nous", "vous", "me", "m'"}:
            self.clitics.append(word)
        elif word in FUNCTION or word in NUMBERS or word in {".", "?", "!", "un", "une"}:
            pass
        elif word in FORMS:
            if at not in self.used:
                self.predicate(word)
        elif self.helper and (base := _participle(word)):
            self.participle(word, base)
        elif word in INFINITIVES:  # the pronouns so far were its own
            self.clitics, self.spent = [], 0
            self.helper = "être" if word == "être" else ""
        else:
            self.finite(word)

    def link(self, at: int, word: str) -> None:
        phrase = next((p for p in self.phrases if p.last == at - 1), None)
        self.reset()
        if phrase is not None:
            self.relative = phrase
            self.lead = phrase.slot if word in {"que", "qu'"} else None
            self.subject = _third(phrase.slot) if word == "qui" else None

    def predicate(self, word: str) -> None:
        slot = self.subject[1] if self.subject else None
        if slot and slot not in FORMS[word]:
            self.found.append(f"predicate {word} of {self.subject}")

    def finite(self, word: str) -> None:
        if self.resumed:  # the relative clause is over, what it stands behind goes on
            self.subject, self.resumed, self.lead = _third(self.resumed.slot), None, None
            self.clitics = self.clitics[self.spent :]
        stem, pronoun = word, ""
        if inverted := re.fullmatch(r"(.+?)(-t)?-(ils?|elles?|nous|vous)", word):
            stem, linked, pronoun = inverted.groups()
            self.invert(word, bool(linked) == (stem[-1] in "td"), pronoun)
        if self.subject is None and stem.endswith("ons"):  # let us
            self.subject = (3, ("m", 2))
        if self.subject is None or not _fits_person(stem, self.subject[0]):
            self.found.append(f"{word} with {self.subject}")
        self.helper = "être" if stem in ETRE else "avoir" if stem in AVOIR else ""
        self.resumed, self.relative, self.spent = self.relative, None, len(self.clitics)

    def invert(self, word: str, wrong: bool, pronoun: str) -> None:
        if pronoun in {"nous", "vous"}:
            self.subject = (SUBJECTS[pronoun], ("m", 2) if pronoun == "nous" else self.addressed)
        elif wrong or self.subject is None or self.subject[1] != _SLOTS[pronoun]:
            self.found.append(f"{word} for {self.subject}")

    def participle(self, word: str, base: str) -> None:
        wanted: tuple[str, int] | None = None
        if self.helper == "être":
            wanted = self.subject[1] if self.subject else None
        elif base not in _WITHOUT_OBJECT:
            wanted = self.lead or self.stood_for(base)
        if wanted and word != _agreed(base, wanted):
            self.found.append(f"{word} should agree with {wanted}")
        if wanted is None and self.helper == "avoir" and word != base and not {"vous", "me", "m'"} & {*self.clitics}:
            self.found.append(f"{word} should not agree")
        self.helper = "être" if base == "été" else ""

    def stood_for(self, base: str) -> tuple[str, int] | None:
        if {"le", "la", "l'", "les"} & {*self.clitics}:
            slot = self.earlier.slot if self.earlier else None
            if slot and (slot[1] == 2) != ("les" in self.clitics):
                self.found.append(f"{self.clitics} for {slot}")
            return slot
        if base in _TO_WHOM:
            return None
        return ("m", 2) if "nous" in self.clitics else self.addressed if "vous" in self.clitics else None


_WITHOUT_OBJECT = {"répondu", "mis", "contribué", "participé", "tenu", "eu", "parlé", "voté", "été"}
_TO_WHOM = {"expliqué", "envoyé", "soumis", "présenté"}
_SLOTS = {"il": ("m", 1), "elle": ("f", 1), "ils": ("m", 2), "elles": ("f", 2), "nous": ("m", 2)}


def _third(slot: tuple[str, int]) -> tuple[int, tuple[str, int]]:
    return 2 if slot[1] == 1 else 5, slot


def _participle(word: str) -> str | None:
    for ending in ("", "e", "s", "es"):
        base = word[: len(word) - len(ending)]
        if word.endswith(ending) and base in PARTICIPLES:
            return base
    return None


def _agreed(base: str, slot: tuple[str, int]) -> str:
    plural = "s" if slot[1] == 2 and not (slot[0] == "m" and base.endswith("s")) else ""
    return base + ("e" if slot[0] == "f" else "") + plural


def _fits_person(word: str, person: int) -> bool:
    plural = word.endswith("nt") and not re.search(r"[tv]ient$", word)
    match person:
        case 0:
            return bool(re.search(r"(e|s|x|ai)$", word)) and not word.endswith("ons")
        case 2:
            return bool(re.search(r"[etdac]$", word)) and not plural
        case 3:
            return word.endswith("ons") or word == "sommes"
        case 4:
            return word.endswith("ez") or word == "êtes"
        case _:
            return plural or word.endswith("aient")


def errors(sentence: str) -> list[str]:
    """What is wrong with the French of one sentence."""
    typed = re.fullmatch(r"[A-ZÀÉÊ].*[^ .](\.| \?| !)", sentence) and not re.search(r"  | [.,]|[’«]", sentence)
    low = sentence.lower()
    called = re.match(r"(?:(monsieur le|madame la) \w+|mesdames et messieurs|chers collègues),", low)
    addressed = None
    if called:
        addressed = ("f" if called[1] == "madame la" else "m", 1 if called[1] else 2)
    text = _FIXED.sub(" ", f" {low}")
    text = TAILS.sub(lambda m: next(group for group in m.groups() if group), text)
    checker = Checker(re.findall(r"[\w-]+'|[\w-]+|[.,?!]", text))
    checker.read_phrases()
    checker.elision()
    checker.negation()
    checker.read_clauses(addressed)
    return checker.found if typed else [*checker.found, "typography"]
