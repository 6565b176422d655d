"""Numbers as people write them. Pure."""

import math
import re
from dataclasses import dataclass

__all__ = ["NotANumber", "Number", "read_number"]

_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CURRENCY = "€$£¥"


class NotANumber(ValueError):
    """Says in a sentence what is wrong, or what the number might be."""


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float
    note: str | None = None
    """What was understood, where it was not plain."""


def read_number(text: str) -> Number:
    """`28,50` is 28.5, and that is said; `1,234` may be two numbers, so it is asked. Raises NotANumber."""
    bare = text.strip().strip(_CURRENCY).strip()
    if not _PLAIN.fullmatch(bare):
        bare = _without_separators(bare, text)
    value = float(bare)
    if not math.isfinite(value):
        raise NotANumber(f"{text!r} is too large for a number.")
    exact: int | float = int(bare) if re.fullmatch(r"[+-]?\d{1,15}", bare, re.ASCII) else value
    return Number(exact, None if bare == text.strip() else f"I read {text.strip()} as {bare}.")


def _without_separators(bare: str, text: str) -> str:
    sign, digits = (bare[0], bare[1:]) if bare[:1] in ("+", "-") else ("", bare)
    if re.fullmatch(r"\d{1,3},\d{3}", digits, re.ASCII) and not digits.startswith("0"):
        decimal, whole = digits.replace(",", "."), digits.replace(",", "")
        raise NotANumber(f"{text!r} may be {sign}{decimal} or {sign}{whole}: please write the one you mean.")
    if re.fullmatch(r"\d+,\d+", digits, re.ASCII):  # 28,50
        return sign + digits.replace(",", ".")
    if re.fullmatch(r"\d{1,3}([. ']\d{3})+,\d+", digits, re.ASCII):  # 1.234,50
        return sign + re.sub(r"[. ']", "", digits).replace(",", ".")
    if re.fullmatch(r"\d{1,3}([, ']\d{3})+\.\d+", digits, re.ASCII):  # 1,234.50
        return sign + re.sub(r"[, ']", "", digits)
    raise NotANumber(f"{text!r} is no number.")
