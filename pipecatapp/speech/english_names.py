"""Names in English: kings and chapters, titles and other short forms, words of capitals.

It owns the lists of what is said otherwise than it is written.
"""

from __future__ import annotations

import re

from pipecatapp.speech.english_capitals import letters
from pipecatapp.speech.english_numbers import cardinal, ordinal
from pipecatapp.speech.roman import roman_value
from pipecatapp.speech.rules import Rule, rule

_REGNAL = (
    "George|Henry|Edward|Richard|Charles|James|William|Elizabeth|Mary|Louis|Philip|Francis|Napoleon|Frederick|"
    "Wilhelm|Friedrich|Ludwig|Otto|Joseph|Leopold|Maximilian|Peter|Catherine|Alexander|Nicholas|Ivan|Paul|John|"
    "Pius|Benedict|Gregory|Leo|Innocent|Clement|Urban|Boniface|Celestine|Adrian|Sixtus|Julius|Constantine|"
    "Theodosius|Justinian|Ramesses|Ramses|Ptolemy|Darius|Xerxes|Artaxerxes|Tutmose|Thutmose|Amenhotep|Seti|"
    "Cleopatra|Mehmed|Murad|Selim|Suleiman|Ferdinand|Alfonso|Isabella|Juan|Carlos|Felipe|Umberto|Emmanuel|"
    "Victor|Gustav|Christian|Haakon|Olav|Harald|Margrethe|Albert|Baudouin|Beatrix|Robert|Malcolm|David|"
    "Stephen|Matilda|Edmund|Sigismund|Ladislaus|Casimir|Stanislaus|Rudolf|Rudolph|Franz|Rama|Mohammed|Hassan|"
    "Abdullah|Hussein|Faisal|Nebuchadnezzar|Ashurbanipal|Septimius|Tiberius|Valentinian|Theodore|Michael|Thomas"
)
_COUNTED = (
    "War|Chapter|Part|Book|Volume|Act|Scene|Section|Article|Appendix|Phase|Type|Class|Level|Stage|Grade|Episode|"
    "Round|Title|Table|Figure|Schedule|Bowl|Fantasy|Mark|Model|Apollo|Gemini|Saturn|Rocky|Tier|Category|Canto"
)
_ROMAN = r"(?=[IVXL])(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})"

_TITLES = {
    **{
        "Mr": "Mister",
        "Mrs": "Missus",
        "Prof": "Professor",
        "Gen": "General",
        "Col": "Colonel",
        "Sgt": "Sergeant",
    },
    **{
        "Capt": "Captain",
        "Lt": "Lieutenant",
        "Maj": "Major",
        "Sen": "Senator",
        "Gov": "Governor",
        "Rev": "Reverend",
    },
    **{"Hon": "Honorable", "Pres": "President", "Rep": "Representative", "Mt": "Mount", "Ft": "Fort"},
}
"""Before a name, with a full stop."""
_SHORT = {
    **{
        "vs": "versus",
        "e.g": "for example",
        "i.e": "that is",
        "approx": "approximately",
        "a.k.a": "also known as",
    },
    **{"Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation"},
    **{
        "dept": "department",
        "Dept": "Department",
        "govt": "government",
        "Ave": "Avenue",
        "Blvd": "Boulevard",
    },
    **{"Rd": "Road", "misc": "miscellaneous", "cf": "compare", "Bros": "Brothers"},
    **{"etc": "et cetera", "et al": "and others", "incl": "including", "excl": "excluding", "avg": "average"},
    **{"max": "maximum", "min": "minimum", "temp": "temperature", "Co": "Company", "E.g": "For example"},
    **{
        "I.e": "That is",
        "Approx": "Approximately",
        "ca": "about",
        "resp": "respectively",
        "tel": "telephone",
    },
}
"""With a full stop, anywhere."""
_BEFORE_NUMBER = {
    **{"No": "number", "no": "number", "Nos": "numbers", "nos": "numbers", "Nr": "number", "fig": "figure"},
    **{
        "Fig": "Figure",
        "vol": "volume",
        "Vol": "Volume",
        "ch": "chapter",
        "Ch": "Chapter",
        "p": "page",
        "pp": "pages",
    },
    **{
        "sec": "section",
        "Sec": "Section",
        "eq": "equation",
        "Eq": "Equation",
        "tel": "telephone",
        "Tel": "Telephone",
    },
}
"""With a full stop, before digits."""
_WITHOUT_STOP = {
    "w/o": "without",
    "w/": "with",
    "c/o": "care of",
    "and/or": "and or",
    "vs": "versus",
    "aka": "also known as",
}


def name_rules() -> list[Rule]:
    """Return the rules of names, titles and other short forms."""
    before_name = "|".join(_TITLES)
    short = "|".join(re.escape(one) for one in sorted(_SHORT, key=len, reverse=True))
    counted = "|".join(_BEFORE_NUMBER)
    without = "|".join(re.escape(one) for one in sorted(_WITHOUT_STOP, key=len, reverse=True))
    return [
        rule(
            rf"\b(?P<title>(?:[Kk]ing|[Qq]ueen|[Pp]ope|[Ee]mperor|[Ee]mpress|[Tt]sar|[Cc]zar|[Kk]aiser|[Pp]rince)\s)?"
            rf"(?P<name>{_REGNAL})\s(?P<second>(?:[A-Z][a-z]+\s)?)(?P<roman>{_ROMAN})(?P<own>['\u2019]s)?"
            rf"(?![\w'\u2019-])(?P<after>(?=\s?[,.;:)!?]|\sof\b))?",
            _regnal,
        ),
        rule(
            rf"\b(?P<name>{_COUNTED})\s(?P<roman>{_ROMAN})(?![\w'\u2019-])",
            lambda m: f"{m['name']} {cardinal(roman_value(m['roman']))}",
        ),
        rule(
            rf"(?P<name>\b[A-Z][a-z]+)\s(?P<roman>(?=[IVX]{{2}}){_ROMAN})(?![\w'\u2019-])",
            lambda m: f"{m['name']} {cardinal(roman_value(m['roman']))}",
        ),
        rule(r"\bDr\b\.?(?=\s+[A-Z])", lambda m: "Doctor"),
        rule(r"(?<=[a-z]\s)Dr\.", lambda m: "Drive"),
        rule(
            r"(?<![A-Z][a-z]\s)(?<![a-z]{2}\s)St\.(?=\s+[A-Z])|(?<=\b(?:in|of|at|to|by)\s)St\.(?=\s+[A-Z])",
            lambda m: "Saint",
        ),
        rule(r"(?<=[a-z]\s)St\.(?P<stop>(?=\s+[A-Z]|\s*$))?", lambda m: "Street" + _stop(m)),
        rule(r"\bMs\.(?=\s)", lambda m: "Ms"),
        rule(rf"\b(?P<short>{before_name})\.(?=\s+(?:[A-Z]|&|and\b))", lambda m: _TITLES[m["short"]]),
        rule(r"\b(?P<short>Mrs?|Prof)(?=\s+[A-Z])", lambda m: _TITLES[m["short"]]),
        rule(rf"\b(?P<short>{counted})\.\s?(?=\d)", lambda m: _BEFORE_NUMBER[m["short"]]),
        rule(
            rf"(?<![\w.])(?P<short>{short})\.(?P<stop>(?=\s+[A-Z]|\s*$))?",
            lambda m: _SHORT[m["short"]] + _stop(m),
        ),
        rule(rf"(?<![\w/])(?P<short>{without})(?![\w/])", lambda m: _WITHOUT_STOP[m["short"]]),
        rule(
            r"(?<![\w.'])(?P<letter>[A-Z])\.(?=\s[A-Z]\.)|(?<=\b[A-Z]\.\s)(?P<next>[A-Z])\.(?=\s[A-Z])"
            r"|(?<=[A-Z][a-z]\s|[a-z][a-z]\s)(?P<middle>[B-HJ-Z])\.(?=\s(?!(?:The|This|That|It|He|She|We|You|They|In|And|But|So|If)\b)[A-Z][a-z])",
            lambda m: letters(m["letter"] or m["next"] or m["middle"]),
        ),
        rule(r"\bPh\.?D\b\.?", lambda m: "P H D"),
        rule(
            r"(?<![\w.])(?P<caps>(?:[A-Z]\.){2,})(?P<own>['\u2019]?s\b)?(?P<stop>(?=\s*$))?",
            lambda m: letters(m["caps"].replace(".", "")) + ("'s" if m["own"] else "") + _stop(m),
        ),
        rule(
            r"\b(?P<a>[Ss]?he|[Hh]is|[Hh]ers?|[Hh]im|[Yy]es|[Tt]rue|[Oo]n)/(?P<b>s?he|her|hers|him|no|false|off)\b(?!/)",
            lambda m: f"{m['a']} or {m['b']}",
        ),
        rule(r"(?<!\w)C\+\+(?!\w)", lambda m: "C plus plus"),
        rule(r"\b(?P<letter>[CF])#(?!\w)", lambda m: f"{m['letter']} sharp"),
    ]


def _stop(match: re.Match[str]) -> str:
    return "." if match["stop"] is not None else ""


def _regnal(match: re.Match[str]) -> str | None:
    numeral, title = match["roman"], match["title"] or ""
    # "James I was late" is no king.
    if numeral == "I" and not title and match["after"] is None and match["own"] is None:
        return None
    if numeral == "X" and match["name"] == "Malcolm":
        return None
    name = f"{match['name']} {match['second']}".strip()
    return f"{title}{name} the {ordinal(roman_value(numeral)).capitalize()}" + ("'s" if match["own"] else "")
