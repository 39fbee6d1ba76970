"""Words of capitals in English: which are said letter by letter, which as a word, which are only loud.

It owns the lists; a word of capitals that is in none of them is spelled when it is short or has no vowel.
"""

from __future__ import annotations

import re

from pipecatapp.speech.english_numbers import cardinal, digits
from pipecatapp.speech.rules import Rule, rule

_WORDLIKE = """
AIDS ASCII ASEAN BIOS CAPTCHA COVID CRISPR CRUD DOS DRAM FEMA FIFA GABA GIF GUI IKEA JSON LAN LASER LEGO
MENSA MIDI NAFTA NAS NASA NASDAQ NATO OPEC OSHA PEMDAS PIN POTUS RADAR RAID RAM REST ROM SARS SATA
SCOTUS SCUBA SIM SOAP SONAR SWAT TOML UEFA UNESCO UNICEF WAN YAML ZIP
"""
_SPELLED = """
AAA AARP ABC AC ACLU AD ADHD AED AI AM AMD API APR AR ASAP ATM AWS BBC BC BCE CBS CEO CET CFO CIA CNN
COO CPU CST CSV CTO DC DEA DIY DNA DNS DOJ ECG EDT EEG EKG EPA EQ ESG EST ETA ETF EU EV FAA FAQ FBI FDA
FYI GMT GPA GPS GPT GPU HBO HIV HR HTML HTTP HTTPS IAEA IBM IBS ICU ID IDE IEC IMF IMO IOS IOT IOU IP
IPA IPO IQ IRS ISBN ISO ISP IT IVF LED LLM MLB MRI MST MTV NBA NBC NCAA NFL NHL NPU NSA OCD OECD OEM OS
PC PDF PDT PM PR PST PTSD RGB RIP RNA ROI RPC RSVP SDK SQL SSH SSL SUV TBA TBD TCP TLS TPU TV UAE UCLA
UDP UEFI UFC UFO UI UK UN UNHCR UPS URI URL US USA USB USMC USPS USSR UTC UV UX VPN VR XML YMCA
"""
_EMPHASIS = """
A ADD AGE AGO AIR ALL AN AND ANY ARE ART AS ASK AT BAD BAG BE BED BIG BOX BOY BUT BUY BY CAN CAP CAR CAT
CUP CUT DAD DAY DID DO DOG DRY DUE EAR EAT EGG END EYE FAR FEW FIT FLY FOR FOX FUN GAS GET GO GOD GOT
GUN HAD HAS HAT HE HEN HER HEY HIM HIS HIT HOT HOW I ICE IF ILL IN IS IT ITS JAM JOB JOY KEY KID LAW LAY
LEG LET LIE LIP LOG LOT LOW MAN MAP MAX MAY ME MEN MIX MOM MUD MY NET NEW NO NOR NOT NOW NUT ODD OF OFF
OH OIL OLD ON ONE OR OUR OUT OWN PAY PEN PET PIE PIG PIN POP PUT RAT RAW RED ROW RUN SAD SAW SAY SEA SEE
SET SHE SIT SIX SKY SO SON SUN TAP TAX TEA TEN THE TIE TIP TIPS TO TOO TOP TOY TRY TWO UP USE VAN WAR
WAS WAY WE WEB WET WHO WHY WIN YES YET YOU ZOO
"""
_AS_WORDS = frozenset(_WORDLIKE.split())
"""Abbreviations that are said as a word."""
_AS_LETTERS = frozenset(_SPELLED.split())
"""Abbreviations with vowels that are said letter by letter all the same."""
_LOUD = frozenset(_EMPHASIS.split())
"""Short words that people write in capitals for emphasis."""
_SAID = {
    "JPEG": "jay peg",
    "JPG": "jay peg",
    "OK": "okay",
    "IEEE": "I triple E",
    "WWI": "World War one",
    "WWII": "World War two",
}
_VOWELS = frozenset("AEIOUY")


def capital_rules() -> list[Rule]:
    """Return the rules of words of capitals, and of letters among digits."""
    return [
        rule(
            r"(?<![\w.-])(?P<first>[A-Z]{1,5}\d[A-Z\d]{0,4}|\d{1,3}[A-Z]{1,3}\d?[A-Z]?)(?P<own>s|['\u2019]s)?(?!\w|-\d)",
            lambda m: _alphanumeric(m["first"]) + ("s" if m["own"] else ""),
        ),
        rule(
            r"(?<![\w&])(?P<a>[A-Z]{1,3})&(?P<b>[A-Z]{1,3})(?![\w&])",
            lambda m: f"{letters(m['a'])} and {letters(m['b'])}",
        ),
        rule(r"(?<=[A-Z])-(?=\d)", lambda m: ""),
        rule(r"(?<![\w.])(?P<caps>[A-Z]{2,6})(?P<own>s|['\u2019]s)?(?![\w])", _capitals),
    ]


def letters(text: str) -> str:
    """Return a word letter by letter.

    "eigh" is the letter's name: before another letter a voice takes a lone A for the article.
    """
    return " ".join("eigh" if letter == "A" else letter for letter in text)


def _alphanumeric(text: str) -> str:
    words = []
    for token in re.findall(r"[A-Z]+|\d+", text):
        if token.isdecimal():
            words.append(cardinal(int(token)) if len(token) <= 3 and token[0] != "0" else digits(token))
        elif token in _AS_WORDS:
            words.append(token)
        else:
            words.append(letters(token))
    return " ".join(words)


def _capitals(match: re.Match[str]) -> str:
    caps, own = match["caps"], match["own"]
    if caps in _SAID:
        words = _SAID[caps]
    elif _is_spelled(match):
        # Without the apostrophe a voice takes "U s" for two letters.
        return letters(caps) + ("'s" if own else "")
    else:
        words = caps if caps in _AS_WORDS else caps.lower()
    return words + (own or "").replace("\u2019", "'")


def _is_spelled(match: re.Match[str]) -> bool:
    caps = match["caps"]
    if caps in _AS_WORDS:
        return False
    if _VOWELS & set(caps) and caps not in _AS_LETTERS and _is_shouted(match):
        return False
    if caps in _AS_LETTERS or not _VOWELS & set(caps):
        return True
    return len(caps) <= 3 and caps not in _LOUD


def _is_shouted(match: re.Match[str]) -> bool:
    """Whether a word beside it is in capitals too, and no abbreviation."""
    around = [
        *re.findall(r"[A-Za-z']+", match.string[: match.start()])[-1:],
        *re.findall(r"[A-Za-z']+", match.string[match.end() :])[:1],
    ]
    return any(
        len(word) > 1
        and word.isupper()
        and (word in _LOUD or (len(word) > 3 and word not in _AS_LETTERS | _AS_WORDS))
        for word in around
    )
