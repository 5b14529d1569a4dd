"""How pages write what the link graph tells: chances and sentences about paths. Pure functions over answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .format import NARROW_SPACE, NO_VALUE, month_name, percent, plural, wiki_name

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


def odds(chance: float | None) -> str:
    """Write a probability: ``58.1 %``; ``1 in 6,220`` below a tenth; ``1 in 4.5 × 10¹²`` below a billionth."""
    if chance is None:
        return NO_VALUE
    if chance >= 0.1:
        return percent(100 * chance)
    if chance <= 0:
        return "never"
    one_in = 1 / chance
    if one_in < 1e9:
        return f"1 in {_three_digits(one_in):,}"
    digits, _, power = f"{one_in:.1e}".partition("e+")
    return f"1 in {digits}{NARROW_SPACE}×{NARROW_SPACE}10{power.lstrip('0').translate(_RAISED)}"


def _three_digits(value: float) -> int:
    """Round to three digits that count."""
    whole = round(value)
    return round(whole, 3 - len(str(whole)))


def share_of_step(share: float) -> str:
    """Write a step's share as percent, with as many digits as a small one needs."""
    value = 100 * share
    return percent(value) if value >= 0.1 else percent(value, 2) if value >= 0.01 else f"< 0.01{NARROW_SPACE}%"


def steps(count: int) -> str:
    """``Three steps``; digits beyond twelve."""
    word = _WORDS[count] if count < len(_WORDS) else f"{count:,}"
    return f"{word} {'step' if count == 1 else 'steps'}"


def heading(answer: Mapping[str, Any]) -> str:
    """What was found, in a few words."""
    if answer["outcome"] == "found":
        best = answer["items"][0]
        if answer["by"] == "clicks":
            return f"{steps(best['steps'])}, each with {plural(best['clicks'], 'click')} or more"
        return f"{steps(best['steps'])}, taken by about {odds(best['probability'])}"
    return {
        "none": "No path of clicks",
        "same": "You are there already",
        "gave_up": "The search was given up",
        "not_kept": "No paths are kept for this month",
    }[answer["outcome"]]


def explained(answer: Mapping[str, Any]) -> str:
    """Why there is no path, and what that means."""
    place = f"on {wiki_name(answer['wiki'])} in {month_name(answer['month'])}"
    few = "Links with fewer than 10 clicks a month are not published, so readers may still have found a way."
    return {
        "no_link_out": f"No published click leads from the first article along a link {place}. {few}",
        "no_link_in": f"No published click leads to the second article along a link {place}. {few}",
        "not_connected": f"However many steps: no chain of published clicks {place} leads from one to the other. {few}",
        "same": "From and to are the same article, so there is nothing to click.",
        "gave_up": f"It looked at {answer['max_links']:,} links, as many as one question may, and had found no path by "
        "then. That does not mean that there is none.",
        "not_kept": "The month has so many links that its batch views hold no link graph, which paths need.",
    }.get(answer["reason"] or answer["outcome"], "")


FILTERS = {function.__name__: function for function in (odds, share_of_step)}
