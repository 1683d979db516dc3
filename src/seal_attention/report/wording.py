# SPDX-License-Identifier: Apache-2.0
"""Numbers and names -> the words that tables, figures and sentences share."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..samples import tokens_name

PREFIXED = "-prefixed"  # ends the name of a method whose runs were given the answer's first words
METHOD_NAMES = {
    "base": "base",
    "base-prefixed": "base-prefixed",
    "seal-h": "SEAL-H",
    "seal-c": "SEAL-C",
    "seal-l": "SEAL-L",
    "seal-d": "SEAL-D",
}
KIND_NAMES = {
    "heads": "head ablation",
    "fast": "fast ablation",
    "quadrants": "quadrant scaling",
    "channels": "channel ablation",
    "direct": "direct effects",
    "retrieval": "retrieval heads",
    "attention": "attention to the needle",
    "agree": "agreement of the maps",
}
RULES = {
    "ruler": "RULER, which counts an answer inside a longer word or number too",
    "whole_words": "whole words alone",
    "f1": "F1",
    "rouge_l": "ROUGE-L",
}
SPACE = "\u00a0"  # no line break between a number and its unit
MINUS = "\u2212"
DASH = "\u2013"
CONFIDENCE = f"95{SPACE}%"


def method_name(method: str) -> str:
    """How a method is written on the page; an unknown one as it stands."""
    plain = method.removesuffix(PREFIXED)
    return METHOD_NAMES.get(plain, plain) + method[len(plain) :]


def extension_name(extend: str) -> str:
    """A window extension as it is typed at its shortest: `self-extend:32768` -> `self-extend:32k`."""
    return re.sub(r"\d+", lambda found: tokens_name(int(found[0])).replace(",", ""), extend)


def colour_name(method: str) -> str:
    """The colour of a method in page.css, the same in tables and figures; all unknown methods share `other`."""
    return next((name for name in (method, method.removesuffix(PREFIXED)) if name in METHOD_NAMES), "other")


def bare_percent(share: float) -> str:
    """A share in per cent, rounded to whole ones unless that would turn a few into none or nearly all into all."""
    value = round(100 * share, 9)  # 1 may come as 1 - 1e-16, and is all
    if 0 < value < 0.95 or 99.05 <= value < 100:
        return f"{min(max(value, 0.1), 99.9):.1f}"
    return f"{value:.0f}"  # rounded once: by way of tenths, 13.46 would become 13.5 and then 14


def percent(share: float) -> str:
    """A share as `92 %`."""
    return f"{bare_percent(share)}{SPACE}%"


def interval(low: float, high: float) -> str:
    """The ends of an interval as `85\u201396 %`, with a dash between."""
    return f"{bare_percent(low)}{DASH}{percent(high)}"


def signed(difference: float) -> str:
    """A difference of shares in percentage points: `+84`."""
    points = round(100 * difference)
    return "0" if points == 0 else f"{'+' if points > 0 else MINUS}{abs(points)}"


def chance(p_value: float) -> str:
    """A p-value as `p < 0.001` or with two significant digits."""
    return f"p{SPACE}<{SPACE}0.001" if p_value < 0.001 else f"p{SPACE}={SPACE}{p_value:.2g}"


def count(number: float, noun: str) -> str:
    """`1 step`, `2 steps`, `1,664 answers`."""
    return f"{number:,.0f}{SPACE}{noun}{'' if number == 1 else 's'}"


def capital(text: str) -> str:
    """A title with a capital at its start."""
    return text[:1].upper() + text[1:]


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def sample_size(number: int) -> str:
    """`n = 1,300`."""
    return f"n{SPACE}={SPACE}{number:,}"


def rule_name(rule: str) -> str:
    """A scoring rule as the page writes it, explained where its name alone does not tell."""
    return RULES.get(rule, rule.replace("_", " "))


def signed_interval(low: float, high: float) -> str:
    """The ends of an interval in percentage points as `+77 to +91`."""
    return f"{signed(low)} to {signed(high)}"


def clipped(text: str, most: int = 400) -> str:
    """Text with what exceeds `most` characters counted instead of shown."""
    return text if len(text) <= most else f"{text[:most]} \u2026 ({len(text) - most:,} more characters)"


def plain_number(value: float) -> str:
    """A measured number with three significant digits, a true minus sign and no exponent where it can be avoided."""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", MINUS)


def between(low: float | None, high: float | None) -> str:
    """An interval behind a measured number, ` (\u22120.1 to +0.2)`; nothing where there is none."""
    return "" if low is None or high is None else f" ({signed_number(low)} to {signed_number(high)})"


def signed_number(value: float) -> str:
    """The same with a sign that says the direction of a change."""
    return f"+{plain_number(value)}" if value > 0 else plain_number(value)
