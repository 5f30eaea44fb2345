"""Errors that a user can mend: the command line prints them as one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """An error's text on one line, whatever the names in it: a line feed becomes ``\\n``."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(error)
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that ends an error message: the nearest known words, or all of them.

    Returns:
        ``"; did you mean 'a'?"`` when something is near, else ``"; known: a, b, c"``.
    """
    candidates = sorted(map(str, known))
    lowered = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(str(word).lower(), lowered, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(lowered[match]) for match in near) + "?"
    return "; known: " + ", ".join(candidates) if candidates else ""
