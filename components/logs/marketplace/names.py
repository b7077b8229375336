"""Made-up brand names: pronounceable, all different, and none of them a word of the lexicon."""

from __future__ import annotations

from functools import cache

_HEADS = """
bra dre fal gor hel jor kel lum mar nor ola pir quin ros sel tor ulm ver wes yor zan alt bel cas dor erl fen
gal har ist jul kos lin mov nev orb pel rav sid tev vex wil xan yel zor arc bor cov dal
""".split()  # noqa: SIM905 - a list of words is read as prose
_TAILS = """
va rix ton mo nia den lo ko ric sen dia fox ga zu na bel mer vik tas que ron ley mio sto dro lan wick ster nox
ra vo lis tek har bry gen dov mar pex sun ty fel nor bo cor dix gal hem jas kar
""".split()  # noqa: SIM905 - a list of words is read as prose


def brand_name(number: int) -> str:
    """The name of brand `number`: two syllables for the first few thousand, three beyond."""
    pairs = len(_HEADS) * len(_TAILS)
    if number < pairs:
        # 1009 is prime and shares no factor with the number of pairs, so every number gets a pair of its own.
        place = number * 1009 % pairs
        return (_HEADS[place // len(_TAILS)] + _TAILS[place % len(_TAILS)]).capitalize()
    rest, middle = divmod(number - pairs, len(_HEADS))
    first, last = divmod(rest, len(_TAILS))
    return (_HEADS[first % len(_HEADS)] + _HEADS[middle] + _TAILS[last]).capitalize() + (
        "" if first < len(_HEADS) else f" {first // len(_HEADS)}"
    )


@cache
def brand_names(count: int) -> tuple[str, ...]:
    """The names of the first `count` brands."""
    return tuple(brand_name(number) for number in range(count))


def model_number(prefix: str, number: int) -> str:
    """A model number as makers print it, "KX-4410": two letters of the brand and a number."""
    return f"{prefix[:2].upper()}{'AEKLRSTX'[number % 8]}-{number // 8 % 9000 + 1000}"
