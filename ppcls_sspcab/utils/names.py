"""Names that become a part of a path."""

from __future__ import annotations


def check_category(name: str) -> None:
    """Does nothing if a category's results stay within ``output_dir``.

    Raises:
        ValueError: the name leads elsewhere.
    """
    if name in (".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(
            f"category must be the name of one folder, not a path: {name!r}; the path to it is "
            "data_root"
        )
