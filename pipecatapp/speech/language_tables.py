"""Tables of languages other than English: signs, units, times, as a person can extend them.

Not here: the rules that use it (`other_languages`); number words are the library's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SYMBOLS = (
    "%",
    "\u00b0C",
    "\u00b0",
    "km/h",
    "km",
    "m",
    "cm",
    "mm",
    "kg",
    "g",
    "l",
    "GB",
    "MB",
    "h",
    "min",
    "s",
)
"""Units in the order of `LanguageTable.units`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTable:
    """One language.

    Args:
        decimal: The word for the decimal comma.
        is_spelled_out: Decimals are said digit by digit, not as a number.
        to: Between the two ends of a range.
        minus: Before a negative number.
        months: January first.
        date: How a date is said, of `day`, `month` and `year`.
        full_hour: How a full hour is said, of `hour`.
        hour_minutes: How another time is said, of `hour` and `minute`.
        one_hour: Hours whose word is another than the number's.
        euro: One and many, what joins the hundredths, and the hundredths.
        dollar: The same.
        pound: The same.
        units: What `SYMBOLS` are called, many of each; "one|many" where one is called otherwise.
        one: The number one before a thing.
        address: What the dot and the @ of an address are called.
        parts: A half, a third, two thirds, a quarter, three quarters.
        signs: What signs are called.
        short: Short forms with what they stand for.
        king: How a ruler's number is said: `cardinal`, `ordinal`, `mixed` (an ordinal up to ten), or what
            stands before a capital ordinal.
    """

    decimal: str
    is_spelled_out: bool
    to: str
    minus: str
    months: tuple[str, ...]
    date: str
    full_hour: str
    hour_minutes: str
    euro: tuple[str, str, str, str]
    dollar: tuple[str, str, str, str]
    pound: tuple[str, str, str, str]
    units: tuple[str, ...]
    one: str
    address: tuple[str, str]
    parts: tuple[str, str, str, str, str]
    signs: Mapping[str, str]
    short: Mapping[str, str]
    king: str
    one_hour: Mapping[int, str] = field(default_factory=dict)


def _signs(names: str) -> dict[str, str]:
    return dict(zip("&@+=%\u00b0\u20ac$\u00a3", names.split(), strict=True))


LANGUAGE_TABLES: Mapping[str, LanguageTable] = {
    "de": LanguageTable(
        decimal="Komma",
        is_spelled_out=True,
        to="bis",
        minus="minus",
        months=(
            *("Januar", "Februar", "M\u00e4rz", "April", "Mai", "Juni", "Juli", "August", "September"),
            *("Oktober", "November", "Dezember"),
        ),
        date="{day} {month} {year}",
        full_hour="{hour} Uhr",
        hour_minutes="{hour} Uhr {minute}",
        one_hour={1: "ein"},
        euro=("Euro", "Euro", " ", "Cent"),
        dollar=("Dollar", "Dollar", " ", "Cent"),
        pound=("Pfund", "Pfund", " ", "Pence"),
        units=(
            *("Prozent", "Grad Celsius", "Grad", "Kilometer pro Stunde", "Kilometer", "Meter", "Zentimeter"),
            *("Millimeter", "Kilogramm", "Gramm", "Liter", "Gigabyte", "Megabyte", "Stunde|Stunden"),
            *("Minute|Minuten", "Sekunde|Sekunden"),
        ),
        one="ein",
        address=("Punkt", "\u00e4t"),
        parts=("ein halb", "ein Drittel", "zwei Drittel", "ein Viertel", "drei Viertel"),
        signs=_signs("und \u00e4t plus gleich Prozent Grad Euro Dollar Pfund"),
        short={
            **{"z. B.": "zum Beispiel", "z.B.": "zum Beispiel", "d. h.": "das hei\u00dft", "Dr.": "Doktor"},
            **{"d.h.": "das hei\u00dft", "usw.": "und so weiter", "bzw.": "beziehungsweise", "ca.": "circa"},
            **{"Nr.": "Nummer", "Prof.": "Professor", "etc.": "et cetera", "u. a.": "unter anderem"},
        },
        king="der",
    ),
    "es": LanguageTable(
        decimal="coma",
        is_spelled_out=False,
        to="a",
        minus="menos",
        months=(
            *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre"),
            *("octubre", "noviembre", "diciembre"),
        ),
        date="{day} de {month} de {year}",
        full_hour="{hour}",
        hour_minutes="{hour} y {minute}",
        one_hour={1: "una"},
        euro=("euro", "euros", " con ", "c\u00e9ntimos"),
        dollar=("d\u00f3lar", "d\u00f3lares", " con ", "centavos"),
        pound=("libra", "libras", " con ", "peniques"),
        units=(
            *("por ciento", "grado Celsius|grados Celsius", "grado|grados"),
            *(
                "kil\u00f3metro por hora|kil\u00f3metros por hora",
                "kil\u00f3metro|kil\u00f3metros",
                "metro|metros",
            ),
            *(
                "cent\u00edmetro|cent\u00edmetros",
                "mil\u00edmetro|mil\u00edmetros",
                "kilo|kilos",
                "gramo|gramos",
            ),
            *("litro|litros", "gigabytes", "megabytes", "hora|horas", "minuto|minutos", "segundo|segundos"),
        ),
        one="un",
        address=("punto", "arroba"),
        parts=("medio", "un tercio", "dos tercios", "un cuarto", "tres cuartos"),
        signs=_signs("y arroba m\u00e1s igual porciento grados euros d\u00f3lares libras"),
        short={
            **{"Sr.": "se\u00f1or", "Sra.": "se\u00f1ora", "Srta.": "se\u00f1orita", "Dr.": "doctor"},
            **{"Dra.": "doctora", "etc.": "etc\u00e9tera", "p. ej.": "por ejemplo", "Ud.": "usted"},
            **{"n.\u00ba": "n\u00famero", "Uds.": "ustedes"},
        },
        king="mixed",
    ),
    "fr": LanguageTable(
        decimal="virgule",
        is_spelled_out=False,
        to="\u00e0",
        minus="moins",
        months=(
            *("janvier", "f\u00e9vrier", "mars", "avril", "mai", "juin", "juillet", "ao\u00fbt", "septembre"),
            *("octobre", "novembre", "d\u00e9cembre"),
        ),
        date="{day} {month} {year}",
        full_hour="{hour} heures",
        hour_minutes="{hour} heures {minute}",
        one_hour={1: "une"},
        euro=("euro", "euros", " ", "centimes"),
        dollar=("dollar", "dollars", " ", "cents"),
        pound=("livre", "livres", " ", "pence"),
        units=(
            *("pour cent", "degr\u00e9 Celsius|degr\u00e9s Celsius", "degr\u00e9|degr\u00e9s"),
            *(
                "kilom\u00e8tre heure|kilom\u00e8tres heure",
                "kilom\u00e8tre|kilom\u00e8tres",
                "m\u00e8tre|m\u00e8tres",
            ),
            *(
                "centim\u00e8tre|centim\u00e8tres",
                "millim\u00e8tre|millim\u00e8tres",
                "kilo|kilos",
                "gramme|grammes",
            ),
            *(
                "litre|litres",
                "gigaoctets",
                "m\u00e9gaoctets",
                "heure|heures",
                "minute|minutes",
                "seconde|secondes",
            ),
        ),
        one="un",
        address=("point", "arobase"),
        parts=("un demi", "un tiers", "deux tiers", "un quart", "trois quarts"),
        signs=_signs("et arobase plus \u00e9gale pourcent degr\u00e9s euros dollars livres"),
        short={
            **{
                "M.": "monsieur",
                "Mme": "madame",
                "Mlle": "mademoiselle",
                "Dr": "docteur",
                "etc.": "et c\u00e6tera",
            },
            **{"p. ex.": "par exemple", "c.-\u00e0-d.": "c'est-\u00e0-dire", "n\u00b0": "num\u00e9ro"},
        },
        king="cardinal",
    ),
    "it": LanguageTable(
        decimal="virgola",
        is_spelled_out=False,
        to="a",
        minus="meno",
        months=(
            *("gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre"),
            *("ottobre", "novembre", "dicembre"),
        ),
        date="{day} {month} {year}",
        full_hour="{hour}",
        hour_minutes="{hour} e {minute}",
        one_hour={1: "una"},
        euro=("euro", "euro", " e ", "centesimi"),
        dollar=("dollaro", "dollari", " e ", "centesimi"),
        pound=("sterlina", "sterline", " e ", "penny"),
        units=(
            *(
                "per cento",
                "grado Celsius|gradi Celsius",
                "grado|gradi",
                "chilometro orario|chilometri orari",
            ),
            *("chilometro|chilometri", "metro|metri", "centimetro|centimetri", "millimetro|millimetri"),
            *("chilo|chili", "grammo|grammi", "litro|litri", "gigabyte", "megabyte", "ora|ore"),
            *("minuto|minuti", "secondo|secondi"),
        ),
        one="un",
        address=("punto", "chiocciola"),
        parts=("mezzo", "un terzo", "due terzi", "un quarto", "tre quarti"),
        signs=_signs("e chiocciola pi\u00f9 uguale percento gradi euro dollari sterline"),
        short={
            **{
                "Sig.": "signor",
                "Sig.ra": "signora",
                "Dott.": "dottor",
                "ecc.": "eccetera",
                "es.": "esempio",
            },
            **{"Prof.": "professor", "n.": "numero"},
        },
        king="ordinal",
    ),
    "nl": LanguageTable(
        decimal="komma",
        is_spelled_out=True,
        to="tot",
        minus="min",
        months=(
            *("januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september"),
            *("oktober", "november", "december"),
        ),
        date="{day} {month} {year}",
        full_hour="{hour} uur",
        hour_minutes="{hour} uur {minute}",
        euro=("euro", "euro", " ", "cent"),
        dollar=("dollar", "dollar", " ", "cent"),
        pound=("pond", "pond", " ", "pence"),
        units=(
            *("procent", "graad Celsius|graden Celsius", "graad|graden", "kilometer per uur", "kilometer"),
            *("meter", "centimeter", "millimeter", "kilo", "gram", "liter", "gigabyte", "megabyte", "uur"),
            *("minuut|minuten", "seconde|seconden"),
        ),
        one="\u00e9\u00e9n",
        address=("punt", "apenstaartje"),
        parts=("een half", "een derde", "twee derde", "een kwart", "driekwart"),
        signs=_signs("en apenstaartje plus is procent graden euro dollar pond"),
        short={
            **{"bijv.": "bijvoorbeeld", "bv.": "bijvoorbeeld", "enz.": "enzovoort", "dhr.": "de heer"},
            **{"mevr.": "mevrouw", "nr.": "nummer", "dr.": "dokter"},
        },
        king="de",
    ),
    "pt": LanguageTable(
        decimal="v\u00edrgula",
        is_spelled_out=False,
        to="a",
        minus="menos",
        months=(
            *("janeiro", "fevereiro", "mar\u00e7o", "abril", "maio", "junho", "julho", "agosto", "setembro"),
            *("outubro", "novembro", "dezembro"),
        ),
        date="{day} de {month} de {year}",
        full_hour="{hour} horas",
        hour_minutes="{hour} e {minute}",
        one_hour={1: "uma", 2: "duas"},
        euro=("euro", "euros", " e ", "c\u00eantimos"),
        dollar=("d\u00f3lar", "d\u00f3lares", " e ", "centavos"),
        pound=("libra", "libras", " e ", "pence"),
        units=(
            *("por cento", "grau Celsius|graus Celsius", "grau|graus"),
            *(
                "quil\u00f4metro por hora|quil\u00f4metros por hora",
                "quil\u00f4metro|quil\u00f4metros",
                "metro|metros",
            ),
            *(
                "cent\u00edmetro|cent\u00edmetros",
                "mil\u00edmetro|mil\u00edmetros",
                "quilo|quilos",
                "grama|gramas",
            ),
            *("litro|litros", "gigabytes", "megabytes", "hora|horas", "minuto|minutos", "segundo|segundos"),
        ),
        one="um",
        address=("ponto", "arroba"),
        parts=("meio", "um ter\u00e7o", "dois ter\u00e7os", "um quarto", "tr\u00eas quartos"),
        signs=_signs("e arroba mais igual porcento graus euros d\u00f3lares libras"),
        short={
            **{"Sr.": "senhor", "Sra.": "senhora", "Dr.": "doutor", "Dra.": "doutora", "etc.": "et cetera"},
            **{"p. ex.": "por exemplo", "n.\u00ba": "n\u00famero"},
        },
        king="mixed",
    ),
}
