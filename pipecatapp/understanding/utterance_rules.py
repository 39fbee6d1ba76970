"""Rules over English utterances: questions, requests to remember, statements about oneself.

It owns rules over words; what is done with the answer is the memory nodes' business. The rules take
speech recognition's text too, which often lacks a question mark.
"""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_OPENING = re.compile(
    r"^(?:(?:hey|hi|hello|ok|okay|oh|well|so|actually|by the way|and|also|yes|no|please|twin)\b[\s,.!]*)+",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"^(?:(?:can|could|would|will) you\s+)?(?:please\s+)?"
    r"(?:remember|memori[sz]e|note|keep in mind|make a note|take a note|do not forget|don['’]t forget)"
    r"(?:\s+(?:that|for me that|for me))?[\s,:]+(?=\w)",
    re.IGNORECASE,
)
_NOT_A_FACT = re.compile(r"^(?:to|when|how|what|where|who|why|if|me|us|you|the time)\b", re.IGNORECASE)
_QUESTION_WORDS = (
    "what what's whats who who's whose where where's when when's why how how's which "
    "is are am was were do does did don't doesn't didn't can could will would shall should may might "
    "have has isn't aren't won't wouldn't couldn't can't"
)
_QUESTION = re.compile(rf"^(?:{'|'.join(_QUESTION_WORDS.split())})\b", re.IGNORECASE)
_USER = re.compile(r"\b(?:i|i['’]m|i['’]ve|i['’]d|my|mine|me|we|we['’]re|our|ours|us)\b", re.IGNORECASE)
_SUBJECT = re.compile(
    r"^(?:i|i['’](?:m|ve|d)|we|we['’](?:re|ve)|my|our|mine|the|a|an|both|all|most)\b", re.IGNORECASE
)
"""How statements begin; requests ("Tell me ...") begin with their verb."""
_TO_YOU = {
    "i": "you",
    "i'm": "you are",
    "i've": "you have",
    "i'd": "you would",
    "i'll": "you will",
    "am": "are",
    "was": "were",
    "my": "your",
    "mine": "yours",
    "me": "you",
    "myself": "yourself",
    "we": "you",
    "we're": "you are",
    "we've": "you have",
    "our": "your",
    "ours": "yours",
    "us": "you",
}
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")


def sentences(text: str) -> list[str]:
    """Split a text at sentence ends."""
    return [part.strip() for part in _SENTENCE_END.split(text.strip()) if part.strip()]


def without_opening(sentence: str) -> str:
    """Drop what only opens a sentence ("Oh, by the way, ..."), unless nothing else is there."""
    return _OPENING.sub("", sentence) or sentence


def is_question(sentence: str) -> bool:
    """Return whether a sentence asks: by its mark, or by its first word."""
    return sentence.rstrip().endswith("?") or bool(_QUESTION.match(without_opening(sentence)))


def is_request(sentence: str) -> bool:
    """Return whether a sentence asks to remember what follows ("Remember that ...")."""
    bare = without_opening(sentence)
    match = _REQUEST.match(bare)
    return bool(match) and not _NOT_A_FACT.match(bare[match.end() :]) if match else False


def is_about_user(sentence: str) -> bool:
    """Return whether a sentence states something of the speaker: "My ...", "I ...", "The name of my ..."."""
    bare = without_opening(sentence)
    return bool(_SUBJECT.match(bare)) and bool(_USER.search(bare))


def as_fact(sentence: str) -> str:
    """Return a sentence as it is kept: without opening or request, with a capital and a full stop."""
    bare = without_opening(sentence)
    bare = _REQUEST.sub("", bare) if is_request(sentence) else bare
    bare = bare.strip().rstrip("?!.,; ")
    return f"{bare[:1].upper()}{bare[1:]}." if bare else ""


def to_you(fact: str) -> str:
    """Turn a speaker's sentence to the speaker: "My dog is old." becomes "Your dog is old."."""
    has_i = re.search(r"\bi\b", fact, re.IGNORECASE) is not None

    def turned(match: re.Match[str]) -> str:
        word = match[0].replace("’", "'")
        if word.lower() == "was" and not has_i:
            return match[0]
        other = _TO_YOU.get(word.lower())
        if other is None:
            return match[0]
        return other[:1].upper() + other[1:] if match.start() == 0 else other

    return _WORD.sub(turned, fact)
