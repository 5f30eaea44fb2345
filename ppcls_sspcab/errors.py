"""Errors that a user can mend: the command line prints them as one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMES = 8
_LONGEST_LINE = 2_000


class UserError(Exception):
    """Something that the user can put right; its text says what, where, and what to do."""


class ConfigError(UserError):
    """A wrong key or value of a configuration.

    Args:
        key: dotted path of the key, such as ``Arch.Block.replace``.
        message: what is wrong and what to do.
        file: the file (or ``-o`` on the command line) that sets the key, once it is known.
    """

    def __init__(self, key: str, message: str, file: str | None = None) -> None:
        super().__init__(key, message)
        self.key = key
        self.message = message
        self.file = file

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.message) if part)


class DataError(UserError):
    """Pictures, masks or lists that are missing, unreadable or do not fit together."""


class ModelError(UserError):
    """Weights, a checkpoint or an exported model that is missing, damaged or of another network."""


class OutputError(UserError):
    """A file or folder that cannot be written, or that another run is writing."""


def one_line(error: UserError) -> str:
    """An error's text on one line, whatever the names in it: a line feed becomes ``\\n``.

    Of a text longer than 2,000 characters, such as one that quotes a damaged file, the middle is
    left out.
    """
    text = str(error)
    if len(text) > _LONGEST_LINE:
        text = f"{text[: _LONGEST_LINE // 2]} ... {text[-_LONGEST_LINE // 2 :]}"
    return printable(text)


def printable(text: str) -> str:
    """The text with escapes for what is not printed: line feeds, and what drives a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that ends an error message: the nearest known name, or the first few of all.

    Hidden names (``.git``) are left out.

    Returns:
        ``"; did you mean 'a'?"`` when something is near, else ``"; known: a, b, c"`` with at most
        eight names, ``"... and N more"`` after them.
    """
    names = sorted({str(name) for name in known if not str(name).startswith(".")})
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {lowered[near[0]]!r}?"
    more = len(names) - _MOST_NAMES
    if more > 1:
        names = [*names[:_MOST_NAMES], f"... and {more} more"]
    return "; known: " + ", ".join(names) if names else ""
