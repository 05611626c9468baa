"""Text that talks to a machine rather than of tissue: prompts, tags, code, addresses of the web."""

from __future__ import annotations

import re

from crafts.captions.scrubbing.cleaning import iter_sentences

_INSTRUCTION = re.compile(
    r"""\b(?: ignore|disregard|forget|override|overrule|bypass|jailbreak|pretend|roleplay|obey
      |comply|prompts?|instructions?|instructed|instruct
      | chatgpt|gpt\W?\d?|llm|llms|chatbot|openai|anthropic|claude|gemini|llama|assistant|ai
      |language\ model|model|developer\ mode|sudo
      | json|xml|html|yaml|javascript|script|python|sql|api|curl|http\w*|token|tokens|password
      |passcode|credential\w*
      | you|your|yours|yourself|yall|please|must\ (?:now|say|be\ (?:written|reported|described
      |output))
      | output|outputs|respond|reply|repeat\ after|answer|caption|captions|summary\ should
      |summari[sz]e|translate|print|write|rewrite|say|tell|reveal|execute|run\ the|click|visit
      |download|upload|exfiltrate|send\ (?:this|the|all|it)|email\ (?:this|the|all|it)
      | end\ of\ (?:document|context|input|prompt)|new\ task|new\ instructions?|real\ task
      |begin\ (?:output|system)|system\ (?:prompt|message|override|note)
    )\b
    | (?:^|\n|[\[<|{(#*])\s*/?(?:system|user|assistant|human|tool|developer|function|inst
      |sys)\s*[\]>|:}]
    | <\|?/?\w[\w\ =/"'-]*\|?> | \[/?INST\] | <</?SYS>> | ```|\{\{|\}\}|\{%|\$\{
      | [{\[]\s*"[\w\ ]+"\s*: | "\w+"\s*:\s*["{\[\d] | \\[nu]\w* | ={3,} | &\w+;""",
    re.IGNORECASE | re.VERBOSE,
)
_JSON = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_TAGGED = re.compile(r"<(\w+)[^<>]*>[^<]{0,500}</\1>|<[!/]?\w[^<>\n]{0,80}>")


def find_instructions(text: str) -> list[tuple[int, int, str]]:
    """Spans of sentences that address a machine rather than tell of tissue."""
    spans = [
        (m.start(), m.end(), "instruction") for p in (_JSON, _TAGGED) for m in p.finditer(text)
    ]
    for start, end in iter_sentences(text):
        # what stands in a tag or in braces is an instruction with all that follows in its line
        if _INSTRUCTION.search(text, max(start - 1, 0), end):
            spans.append((start, end, "instruction"))
    return spans
