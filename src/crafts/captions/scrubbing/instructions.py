"""Text that speaks to a reader or a machine, or of the report itself, rather than of tissue.

Two ways to tell. Signs of machines (prompts, tags, code, addresses of the web) are a list. Speech
is a grammar, as no list holds all words for it: commands (a bare verb with its object), what must
or must not be said, lines that are addressed to somebody, and predicates about the text instead of
the tissue. Words that the lexicon of reports does not hold count as verbs where verbs stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from crafts.captions.cleaning import iter_sentences
from crafts.captions.findings.concepts import HEAD
from crafts.captions.vocabulary import load_function_words, load_lexicon, load_verbs

_MACHINE = re.compile(
    r"""\b(?: ignore|disregard|forget|override|overrule|bypass|jailbreak|pretend|roleplay|obey
      |comply|prompts?|instructions?|instructed|instruct
      | chatgpt|gpt\W?\d?|llm|llms|chatbot|openai|anthropic|claude|gemini|llama|assistant|ai
      |language\ model|model|developer\ mode|sudo
      | json|xml|html|yaml|javascript|script|python|sql|api|curl|http\w*|token|tokens|password
      |passcode|credential\w*
      | (?<!thank\ )you|your|yours|yourself|yall|please(?!\ (?:see|refer|correlate)\b)
      | must\ (?:now|say|be\ (?:written|reported|described|output))
      | output|outputs|respond|reply|repeat\ after|answer|caption|captions|summary\ should
      |summari[sz]e|translate|print|write|rewrite|say|tell|reveal|execute|run\ the|click|visit
      |download|upload|exfiltrate|send\ (?:this|the|all|it)|email\ (?:this|the|all|it)
      | end\ of\ (?:document|context|input|prompt)|new\ task|new\ instructions?|real\ task
      |(?:begin|start|end)\ (?:output|system|summary|caption|prompt)
      |system\ (?:prompt|message|override|note)
    )\b
    | (?:^|\n|[\[<|{(#*])\s*/?(?:system|user|assistant|human|tool|developer|function|inst
      |sys)\s*[\]>|:}*]
    | (?:^|(?<=[\s(:]))@[a-z]\w*
    | \[+/\w[\w\ ]*\]+ | -{3,}\ ?(?:begin|start)\b
    | <\|?/?\w[\w\ =/"'-]*\|?> | \[/?INST\] | <</?SYS>> | ```|\{\{|\}\}|\{%|\$\{
      | [{\[]\s*"[\w\ ]+"\s*: | "\w+"\s*:\s*["{\[\d] | \\[nu]\w* | &\w+;""",
    re.IGNORECASE | re.VERBOSE,
)
_JSON = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_TAGGED = re.compile(
    r"<(\w+)[^<>]*>[^<]{0,500}</\1>|<[!/]?\w[^<>\n]{0,80}>|<!--.{0,500}?-->|```.{0,500}?```",
    re.DOTALL,
)


def find_instructions(text: str) -> list[tuple[int, int, str]]:
    """Spans of sentences that speak to a reader, or of the text, rather than of tissue."""
    spans = [
        (m.start(), m.end(), "instruction") for p in (_JSON, _TAGGED) for m in p.finditer(text)
    ]
    for clauses in _iter_statements(text):
        # what stands in a tag or in braces is an instruction with all that follows in its line
        if any(_MACHINE.search(text, max(a - 1, 0), b) or is_speech(text[a:b]) for a, b in clauses):
            spans.append((clauses[0][0], _message_end(text, clauses[-1][1]), "instruction"))
    return spans


_SHORT = 10  # words; a description is longer
_GOES_ON = re.compile(r"(?<![.!?\"')])\n[^\n]*")


def _message_end(text: str, end: int) -> int:
    """Where a message ends: a line without a stop heads the next, if in short that is a disease."""
    following = _GOES_ON.match(text, end)
    if following and HEAD.search(following[0]) and len(following[0].split()) <= _SHORT:
        return following.end()
    return end


def _iter_statements(text: str) -> Iterator[list[tuple[int, int]]]:
    """Sentences with those that a semicolon joins to them: "forget this; the diagnosis is ..."."""
    clauses: list[tuple[int, int]] = []
    for start, end in iter_sentences(text):
        if clauses and not re.fullmatch(r"; *", text[clauses[-1][1] - 1 : start]):
            yield clauses
            clauses = []
        clauses.append((start, end))
    if clauses:
        yield clauses


# ---- the grammar of speech -------------------------------------------------------------------

_CLAUSE = re.compile(r"(?:[;:\"(]|\s-{1,3}\s|,\s*(?:and|but|then|so|instead)\b)\s*")
_LEAD = re.compile(r"^(?:[\w'-]+ ){0,4}[\w'-]+,\s")
_WORDS = re.compile(r"[A-Za-z]+(?:'[a-z]+)?|\d+")
_OPENERS = frozenset("and but then so now just also always instead hence therefore simply".split())
_PARTICLES = frozenset("out aside down away off up on in over back through".split())
_OBJECT = frozenset(
    "the a an this that these those it its them all any every everything anything nothing each "
    "what whatever whichever my our his her some only both".split()
)
# no commands, though they may stand where commands stand; the last are said to other pathologists
_NO_COMMANDS = frozenset(
    "do does did is are was were be been has have had can could may might should would will shall "
    "let if when where while whereas although though because since than there here "
    "see note correlate compare refer recommend favor favour suspect consider exclude rule".split()
)
_NOUN = (
    r"text|report|summary|record|sentences?|statements?|paragraphs?|words?|wording|entry|label|"
    r"title|document"
)
_OF_TEXT = re.compile(
    rf"\b(?:{_NOUN}|lines?|everything|anything|nothing|the (?:above|below|following|foregoing|"
    r"preceding|previous|former|rest|remainder|latter)(?! (?!is|are|was|were|has|must|of)[a-z])|"
    r"all (?:of )?(?:this|that|the above|other text|else)|"
    r"what(?:ever)? (?:\w+ ){0,3}?(?:above|below|before|precedes|follows|here|so far|earlier))\b",
    re.IGNORECASE,
)
_IS = re.compile(r"\b(?:is|are|was|were|be|being|has|have|had|contains?)\b", re.IGNORECASE)
_SAYS = re.compile(
    rf"\b(?:{_NOUN}) (?:\w+ ){{0,2}}?(?:is|are|reads?|says?|states?|becomes?|equals?|as)\b",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\b(?:text|sentences?|paragraphs?|words?|wording)\b[^.;:]{0,40}\b(?:is|are|was|were)\b",
    re.IGNORECASE,
)
_THE_TEXT = re.compile(r"\b(?:text|sentences?|paragraphs?|words?|wording)\b", re.IGNORECASE)
_OBLIGED = re.compile(
    r"\b(?:should|must|shall|ought|(?:ha(?:s|ve)|needs?|wants?) to|(?:is|are|be) to)\b"
    r"(?! (?:the|a|an|left|right|within)\b)",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(
    r"(?:^|[:;.]\s)\W*(?:for|to|dear|attention|attn|hello|hi|hey|"
    r"(?P<mail>(?:note|message|memo|notice|reminder|word|hint)s? (?:to|for)))\b\W*"
    r"(?P<who>[\w' -]{0,60}?)\s?(?:[:,-]|(?(mail)(?:=|$)|(?!)))",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def is_speech(sentence: str) -> bool:
    """Whether a sentence commands, addresses somebody, or judges the text that it stands in."""
    of_text = _OF_TEXT.search(sentence)
    if of_text and is_obliging(sentence):
        return True
    if of_text and _IS.search(sentence, of_text.end()) and _has_foreign(sentence):
        return True
    if _THE_TEXT.search(sentence) and _has_foreign(sentence):
        return True
    if _ABOUT.search(sentence) or _SAYS.search(sentence) and HEAD.search(sentence):
        return True
    if any(_is_somebody(addressed["who"]) for addressed in _ADDRESSED.finditer(sentence)):
        return True
    return any(map(_commands, _clauses(sentence)))


def is_obliging(sentence: str) -> bool:
    """Whether a sentence tells what has to be rather than what is."""
    return _OBLIGED.search(sentence) is not None


def _has_foreign(sentence: str) -> bool:
    return any(len(word) > 1 and _is_foreign(word) for word in _WORDS.findall(sentence))


def _is_foreign(word: str) -> bool:
    return word.isalpha() and not load_lexicon().kind(word)


def _is_somebody(who: str) -> bool:
    """Whether what a line is addressed to is no part of a body and no stain."""
    return bool(who) and not _tells_of_tissue(who)


def _tells_of_tissue(text: str) -> bool:
    return any(load_lexicon().kind(word) == "term" for word in _WORDS.findall(text))


def _clauses(sentence: str) -> list[str]:
    """Where a command may begin: at the start, behind a stop, behind a short "from now on,"."""
    clauses = [clause for clause in _CLAUSE.split(sentence) if clause]
    leads = ((clause, _LEAD.match(clause)) for clause in clauses)
    return clauses + [
        clause[lead.end() :] for clause, lead in leads if lead and not _tells_of_tissue(lead[0])
    ]


def _commands(clause: str) -> bool:
    """Whether a clause begins with a bare verb and its object, or forbids something."""
    words = _WORDS.findall(clause)
    while len(words) > 1 and (words[0].lower() in _OPENERS or words[0].lower().endswith("ly")):
        words = words[1:]
    if len(words) < 2:
        return False
    verb, following = words[0].lower(), words[1].lower()
    if verb in ("do", "don't", "never"):
        return verb == "don't" or following == "not" or (len(words) > 2 and _may_command(following))
    if not _may_command(verb):
        return False
    if following in _PARTICLES and len(words) > 2:
        following = words[2].lower()
    # behind a name stands an initial
    if following in _OBJECT and words[1] != "A":
        return True
    if following == "no" and len(words) > 2 and load_lexicon().kind(words[2]) != "term":
        return True
    # "report melanoma", "label as melanoma", "use melanoma as"
    target = words[2] if following == "as" and len(words) > 2 else following
    known = verb in load_verbs() or re.fullmatch(_NOUN, verb) is not None
    return HEAD.fullmatch(target) is not None and (known or "as" in words[2:4])


def _may_command(word: str) -> bool:
    """Whether a word may be a verb in its bare form; terms and what joins words are none."""
    if word in _NO_COMMANDS or word in load_function_words() or word in load_lexicon().terms:
        return False
    return re.fullmatch(r"[a-z]+(?<!ed)(?<!ing)(?<![^s]s)", word) is not None and len(word) > 2
