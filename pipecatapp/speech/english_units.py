"""What currencies and units of measure are called in English.

Not here: how amounts of them are said (`english_quantities`).
"""

from __future__ import annotations

CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("dollar", "dollars", "cent", "cents"),
    "USD": ("dollar", "dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "\u20ac": ("euro", "euros", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "\u00a3": ("pound", "pounds", "penny", "pence"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "\u20b9": ("rupee", "rupees", "paisa", "paise"),
    "INR": ("rupee", "rupees", "paisa", "paise"),
    "\u00a5": ("yen", "yen", "", ""),
    "JPY": ("yen", "yen", "", ""),
    "CNY": ("yuan", "yuan", "", ""),
    "\u20a9": ("won", "won", "", ""),
    "\u20bd": ("ruble", "rubles", "kopek", "kopeks"),
}
"""Singular and plural of a currency and of its hundredth; "" where it has none."""

PER: dict[str, str] = {
    **{"s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day", "wk": "week"},
    **{"mo": "month", "yr": "year", "second": "second", "minute": "minute", "hour": "hour", "day": "day"},
    **{
        "night": "night",
        "week": "week",
        "month": "month",
        "year": "year",
        "person": "person",
        "user": "user",
    },
    **{
        "kg": "kilogram",
        "g": "gram",
        "lb": "pound",
        "oz": "ounce",
        "l": "liter",
        "L": "liter",
        "km": "kilometer",
    },
    **{"mile": "mile", "gallon": "gallon", "m\u00b2": "square meter", "kWh": "kilowatt hour", "item": "item"},
    **{
        "piece": "piece",
        "unit": "unit",
        "share": "share",
        "barrel": "barrel",
        "token": "token",
        "GB": "gigabyte",
    },
}
"""What stands behind a slash."""


def _units() -> dict[str, tuple[str, str]]:
    regular = {
        **{"km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer"},
        **{"\u00b5m": "micrometer", "\u03bcm": "micrometer", "dm": "decimeter", "mi": "mile", "yd": "yard"},
        **{"kg": "kilogram", "g": "gram", "mg": "milligram", "\u00b5g": "microgram", "\u03bcg": "microgram"},
        **{"t": "ton", "lb": "pound", "lbs": "pound", "oz": "ounce", "l": "liter", "L": "liter"},
        **{"ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "dl": "deciliter", "gal": "gallon"},
        **{"tsp": "teaspoon", "tbsp": "tablespoon", "ha": "hectare"},
        **{"km\u00b2": "square kilometer", "m\u00b2": "square meter", "cm\u00b2": "square centimeter"},
        **{"mm\u00b2": "square millimeter", "m\u00b3": "cubic meter", "cm\u00b3": "cubic centimeter"},
        **{"km2": "square kilometer", "m2": "square meter", "cm2": "square centimeter", "m3": "cubic meter"},
        **{"s": "second", "sec": "second", "ms": "millisecond", "\u00b5s": "microsecond", "ns": "nanosecond"},
        **{"min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour"},
        **{"kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte"},
        **{"TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte"},
        **{"TiB": "tebibyte", "kbit": "kilobit", "Mbit": "megabit", "Gbit": "gigabit"},
        **{"W": "watt", "mW": "milliwatt", "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt"},
        **{"Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour", "V": "volt", "kV": "kilovolt"},
        **{"mV": "millivolt", "mA": "milliamp", "mAh": "milliamp hour", "J": "joule", "kJ": "kilojoule"},
        **{
            "cal": "calorie",
            "kcal": "kilocalorie",
            "Pa": "pascal",
            "hPa": "hectopascal",
            "kPa": "kilopascal",
        },
        **{"dB": "decibel", "px": "pixel", "lm": "lumen", "\u03a9": "ohm", "\u2126": "ohm", "mol": "mole"},
        **{"nmi": "nautical mile", "ly": "light year", "pt": "point", "pts": "point"},
    }
    other = {
        **{
            "ft": ("foot", "feet"),
            "ft\u00b2": ("square foot", "square feet"),
            "sq ft": ("square foot", "square feet"),
        },
        **{"sq km": ("square kilometer", "square kilometers"), "sq m": ("square meter", "square meters")},
        **{"\u00b0C": ("degree Celsius", "degrees Celsius"), "\u2103": ("degree Celsius", "degrees Celsius")},
        **{
            "\u00b0F": ("degree Fahrenheit", "degrees Fahrenheit"),
            "\u00baC": ("degree Celsius", "degrees Celsius"),
        },
        **{
            "\u2109": ("degree Fahrenheit", "degrees Fahrenheit"),
            "\u00b0 C": ("degree Celsius", "degrees Celsius"),
        },
        **{"\u00b0 F": ("degree Fahrenheit", "degrees Fahrenheit"), "\u00b0": ("degree", "degrees")},
        **{"%": ("percent", "percent"), "\u2030": ("per thousand", "per thousand"), "bar": ("bar", "bar")},
        **{"Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz")},
        **{"GHz": ("gigahertz", "gigahertz"), "rpm": ("revolution per minute", "revolutions per minute")},
        **{"mph": ("mile per hour", "miles per hour"), "fps": ("frame per second", "frames per second")},
        **{
            "km/h": ("kilometer per hour", "kilometers per hour"),
            "kph": ("kilometer per hour", "kilometers per hour"),
        },
        **{
            "kmh": ("kilometer per hour", "kilometers per hour"),
            "psi": ("pound per square inch", "pounds per square inch"),
        },
        **{"m/s\u00b2": ("meter per second squared", "meters per second squared")},
        **{
            "kbps": ("kilobit per second", "kilobits per second"),
            "Mbps": ("megabit per second", "megabits per second"),
        },
        **{
            "Gbps": ("gigabit per second", "gigabits per second"),
            "ppm": ("part per million", "parts per million"),
        },
        **{"kn": ("knot", "knots"), "lx": ("lux", "lux"), "dpi": ("dot per inch", "dots per inch")},
    }
    return {**{symbol: (name, f"{name}s") for symbol, name in regular.items()}, **other}


UNITS = _units()
"""Singular and plural of a unit."""
