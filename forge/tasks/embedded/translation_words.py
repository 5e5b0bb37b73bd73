"""The words of the embedded translation data: each English word with the one French word it stands for here."""

from __future__ import annotations

from dataclasses import dataclass

from forge.tasks.embedded.translation_english import with_s


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun in both languages, singular and plural."""

    en: tuple[str, str]
    fr: tuple[str, str]
    feminine: bool
    only_singular: bool = False
    human: bool = False


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective; `before` says that it goes before the French noun, where some have a form for vowels."""

    en: str
    fr: str
    before: bool = False
    before_vowel: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """A verb with the words that belong to it around its object, and the French preposition of the object."""

    en: str
    fr: str
    preposition: str = ""
    en_before: str = ""
    en_after: str = ""
    fr_tail: str = ""
    state: bool = False  # has no -ing form
    objects: str = "text"  # text, body, event or nothing
    to_whom: bool = False

    @property
    def key(self) -> str:
        """What tells this verb from the others."""
        return " ".join(part for part in (self.en, self.en_before, self.en_after) if part)


def _noun(line: str) -> Noun:
    english, french, gender = (part.strip() for part in line.split("|"))
    en, _, en_plural = english.partition("/")
    fr, _, fr_plural = french.partition("/")
    plural = fr_plural or (fr if fr[-1] in "sx" else f"{fr}s")
    return Noun((en, en_plural or with_s(en)), (fr, plural), gender[0] == "f", "1" in gender, "p" in gender)


def _nouns(table: str) -> tuple[Noun, ...]:
    return tuple(_noun(line) for line in table.strip().splitlines())


# Who acts. A 1 marks what exists once, a p persons; these are masculine, as the French of treaties has it.
BODIES = _nouns("""
Commission | Commission | f1
Council | Conseil | m1
Parliament | Parlement | m1
Union | Union | f1
Court of Auditors | Cour des comptes | f1
High Representative | haut représentant | m1p
committee | commission | f
group | groupe | m
government | gouvernement | m
Member State | État membre/États membres | m
delegation | délégation | f
authority | autorité | f
agency | agence | f
minister | ministre | mp
rapporteur | rapporteur | mp
commissioner | commissaire | mp
Member | député | mp
expert | expert | mp
farmer | agriculteur | mp
citizen | citoyen | mp
company | entreprise | f
region | région | f
country | pays | m
""")
TEXTS = _nouns("""
report | rapport | m
proposal | proposition | f
directive | directive | f
regulation | règlement | m
amendment | amendement | m
resolution | résolution | f
agreement | accord | m
programme | programme | m
strategy | stratégie | f
plan | plan | m
budget | budget | m
text | texte | m
decision | décision | f
law | loi | f
treaty | traité | m
opinion | avis | m
reform | réforme | f
policy | politique | f
measure | mesure | f
initiative | initiative | f
compromise | compromis | m
priority | priorité | f
objective | objectif | m
rule | règle | f
idea | idée | f
choice | choix | m
action plan | plan d'action/plans d'action | m
work programme | programme de travail/programmes de travail | m
roadmap | feuille de route/feuilles de route | f
analysis/analyses | analyse | f
study | étude | f
tool | outil | m
""")
EVENTS = _nouns("""
debate | débat | m
vote | vote | m
meeting | réunion | f
conference | conférence | f
summit | sommet | m
election | élection | f
""")
_IN_FORCE = {"directive", "regulation", "agreement", "law", "treaty", "reform", "measure", "decision"}
LAWS = tuple(noun for noun in TEXTS if noun.en[0] in _IN_FORCE)

ADJECTIVES = (
    Adjective("new", "nouveau", before=True, before_vowel="nouvel"),
    Adjective("old", "vieux", before=True, before_vowel="vieil"),
    Adjective("former", "ancien", before=True),
    Adjective("good", "bon", before=True),
    Adjective("large", "grand", before=True),
    Adjective("small", "petit", before=True),
    Adjective("real", "vrai", before=True),
    Adjective("long", "long", before=True),
    Adjective("European", "européen"),
    Adjective("French", "français"),
    Adjective("national", "national"),
    Adjective("social", "social"),
    Adjective("regional", "régional"),
    Adjective("economic", "économique"),
    Adjective("public", "public"),
    Adjective("common", "commun"),
    Adjective("clear", "clair"),
    Adjective("ambitious", "ambitieux"),
    Adjective("serious", "sérieux"),
    Adjective("effective", "efficace"),
    Adjective("necessary", "nécessaire"),
    Adjective("important", "important"),
    Adjective("precise", "précis"),
    Adjective("complete", "complet"),
    Adjective("positive", "positif"),
    Adjective("ready", "prêt"),
    Adjective("prudent", "prudent"),
    Adjective("active", "actif"),
)
_BY_NAME = {adjective.en: adjective for adjective in ADJECTIVES}


def _named(names: str) -> tuple[Adjective, ...]:
    return tuple(_BY_NAME[name] for name in names.split())


# What the verb to be can say of whom, and what can stand beside which noun.
SAID = {
    "text": _named("clear ambitious serious effective necessary important precise complete positive"),
    "body": _named("ready prudent active serious ambitious effective important"),
}
BEFORE = tuple(adjective for adjective in ADJECTIVES if adjective.before)
_NEVER_BESIDE = {"ready"}
BESIDE = tuple(a for a in ADJECTIVES if not a.before and a.en not in _NEVER_BESIDE)
OF_BODIES = _named("European French national regional public prudent active")

# What is followed by that.
THINKING = tuple(
    Verb(en, fr, state=True, objects="nothing")
    for en, fr in {"think": "penser", "say": "dire", "know": "savoir", "believe": "croire", "hope": "espérer"}.items()
)
BE = Verb("be", "être", state=True, objects="nothing")


def _plain(pairs: str, objects: str) -> tuple[Verb, ...]:
    return tuple(Verb(en, fr, objects=objects) for en, fr in (pair.split(":") for pair in pairs.split()))


VERBS = (
    *_plain(
        "adopt:adopter reject:rejeter approve:approuver examine:examiner defend:défendre amend:modifier sign:signer"
        " publish:publier finance:financer apply:appliquer prepare:préparer announce:annoncer block:bloquer"
        " accept:accepter welcome:saluer evaluate:évaluer simplify:simplifier improve:améliorer propose:proposer"
        " follow:suivre define:définir introduce:introduire translate:traduire maintain:maintenir obtain:obtenir"
        " choose:choisir forget:oublier use:utiliser harmonise:harmoniser receive:recevoir strengthen:renforcer",
        "text",
    ),
    Verb("understand", "comprendre", state=True),
    Verb("know", "connaître", state=True),
    Verb("explain", "expliquer", to_whom=True),
    Verb("send", "envoyer", to_whom=True),
    Verb("submit", "soumettre", to_whom=True),
    Verb("present", "présenter", to_whom=True),
    Verb("reply", "répondre", "à", en_before="to", objects="body"),
    Verb("put", "mettre", "à", en_before="an end to", fr_tail="fin"),
    Verb("contribute", "contribuer", "à", en_before="to"),
    Verb("take", "participer", "à", en_before="part in", objects="event"),
    Verb("take", "tenir", "de", en_after="into account", fr_tail="compte"),
    Verb("need", "avoir", "de", fr_tail="besoin", state=True),
    Verb("speak", "parler", "de", en_before="about"),
    Verb("vote", "voter", "de", en_before="in favour of", fr_tail="en faveur"),
    *_plain(
        "thank:remercier congratulate:féliciter consult:consulter convince:convaincre protect:protéger help:aider"
        " support:soutenir criticise:critiquer",
        "body",
    ),
    Verb("listen", "écouter", en_before="to", objects="body"),
    *_plain("act:agir hesitate:hésiter succeed:réussir work:travailler arrive:arriver leave:partir", "nothing"),
    Verb("come", "revenir", en_after="back", objects="nothing"),
    Verb("be", "avoir", en_after="right", fr_tail="raison", state=True, objects="nothing"),
    Verb("be", "avoir", en_after="wrong", fr_tail="tort", state=True, objects="nothing"),
)
COME_INTO_FORCE = Verb("come", "entrer", en_after="into force", fr_tail="en vigueur", state=True, objects="nothing")
TAKE_PLACE = Verb("take", "avoir", en_after="place", fr_tail="lieu", state=True, objects="nothing")
