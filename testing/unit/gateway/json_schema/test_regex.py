"""Patterns of schemas become patterns of the JSON texts that they allow."""

from __future__ import annotations

import json
import re

import pytest

from pipecatapp.gateway.json_schema.regex import PatternError, json_pattern

pytestmark = pytest.mark.unit

TEXTS = (
    *(
        "",
        "a",
        "b",
        "ab",
        "abc",
        "xaby",
        "aab",
        "a.b",
        "a+b",
        "A",
        "é",
        "😀",
        "3",
        "42",
        "1999-12-31",
        " ",
        "_",
    ),
    *('"', 'say "hi"', "\\", "ab\\!", "ab!", "two\nlines", "tab\t", "]", "-", "^", "a-z", "x/y", "{", "a{2}"),
)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "abc",
            "^abc$",
            "^a",
            "b$",
            "",
            "^$",
            "^a|b$",
            "a|",
            "(a|b)c?",
            "^(a|b|)$",
            "(?:ab)+",
            "a{2}",
            "^a{1,}b$",
        ),
        *(
            ".",
            "^.$",
            "^.*$",
            "^.+$",
            r"\.",
            r"a\.b",
            r"^\S+$",
            r"\s",
            r"^\w$",
            r"\W",
            r"^\d{4}-\d\d-\d\d$",
            r"^\D*$",
        ),
        *(
            "[abc]",
            "^[^abc]$",
            "^[a-c]+$",
            r"^[\]\\^-]$",
            r"^[-a]$",
            r"^[\s\S]*$",
            r"^[\d_]+$",
            '^[^"\\\\]*$',
        ),
        *(
            r"^ab\\!$",
            r"^ab\!$",
            r"^\\$",
            '^"$',
            r"\"hi\"",
            r"\n",
            r"\t",
            r"^x\/y$",
            r"^a+?b*?$",
            "(?P<one>a)b",
        ),
        *(
            "^\u00e9$",
            r"^\u00e9$",
            r"^\x41$",
            "^(a?){2,3}$",
            "^((a|b)*)*$",
            "a{0}b",
            "^a{0,2}$",
            r"^\{$",
            "^{$",
        ),
    ],
)
def test_a_pattern_allows_the_json_of_what_it_matches_and_of_nothing_else(pattern: str) -> None:
    made = json_pattern(pattern)
    assert made.startswith("^") and made.endswith("$")
    allowed = {text for text in TEXTS if re.fullmatch(made[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])}
    # ECMA's classes are ASCII's and `.` takes no line's end, as Python's with this flag.
    assert allowed == {text for text in TEXTS if re.search(pattern.replace("$", r"\Z"), text, re.ASCII)}


@pytest.mark.parametrize("pattern", [".*", "[^x]*", r"\s*", r"\W*", "(a|.)*"])
def test_whatever_matches_leaves_the_string_whole(pattern: str) -> None:
    made = json_pattern(f"^{pattern}$")[1:-1]
    for broken in ('"', "\\", "a\nb", '\\"x"', "\\q", "\x00"):
        assert not re.fullmatch(made, broken)


def test_characters_beyond_the_basic_plane_are_one_character() -> None:
    assert json_pattern(r"^\uD83D\uDE00$") == json_pattern(r"^\u{1F600}$") == "^(?:\\U0001F600)$"


def test_named_groups_of_both_notations_are_groups() -> None:
    assert json_pattern("^(?<y>a)$") == json_pattern("^(?P<y>a)$") == json_pattern("^(?:a)$")


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("(?<=x)y", "a lookbehind, `(?<=`, at character 1"),
        ("a(?<!x)", "a lookbehind, `(?<!`, at character 2"),
        ("(?=x)", "a lookahead, `(?=`"),
        ("(?!x)", "a lookahead, `(?!`"),
        ("(?i)x", "a group of a kind that is not known, `(?i`"),
        (r"(a)\1", r"a reference back to a group, `\1`"),
        (r"(?<n>a)\k<n>", r"a reference back to a group, `\k`"),
        (r"\bx", "a word boundary"),
        (r"\p{L}", "a Unicode property"),
        (r"\Ax", r"an escape that is not known, `\A`"),
        (r"\01", "an octal escape"),
        (r"\x4", r"an escape `\x` without its digits"),
        (r"\u{110000}", r"an escape `\u` without its digits"),
        ("a^b", "an anchor elsewhere than at an end"),
        ("(^a)", "an anchor elsewhere than at an end"),
        ("a$b", "an anchor elsewhere than at an end"),
        ("(a", "a `(` without its `)`"),
        ("a)", "a `)` without its `(`"),
        ("[a", "a `[` without its `]`"),
        ("[a-", "a `[` without its `]`"),
        ("[z-a]", "ends before it begins"),
        (r"[a-\d]", "whose ends are no characters"),
        ("*a", "nothing to repeat"),
        ("{2}", "nothing to repeat"),
        ("a**", "a repetition of a repetition"),
        ("a{3,2}", "in the wrong order"),
        ("a{2001}", "more than 2000 times"),
        ("a\\", r"a `\` at its end"),
        ("\x00", "an answer cannot have"),
        ("[]", "an answer cannot have"),
        ("(" * 31 + ")" * 31, "more than 30 levels"),
        ("a" * 4001, "more than 4000 characters"),
    ],
)
def test_what_no_grammar_keeps_to_is_named(pattern: str, what: str) -> None:
    with pytest.raises(PatternError) as refusal:
        json_pattern(pattern)
    assert what in str(refusal.value)
