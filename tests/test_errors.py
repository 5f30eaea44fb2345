"""Hints that end an error message."""

from ppcls_sspcab.errors import UserError, did_you_mean, one_line


def test_one_nearest_name_is_named() -> None:
    assert did_you_mean("gaskte", ["mesh", "gasket", "gaskets"]) == "; did you mean 'gasket'?"
    assert did_you_mean("cutpaste", ["CutPaste"]) == "; did you mean 'CutPaste'?"


def test_a_few_names_where_none_is_near() -> None:
    assert did_you_mean("x", ["b", "a"]) == "; known: a, b"
    names = [f"folder{number:02}" for number in range(23)]
    hint = did_you_mean("x", names)
    assert hint == "; known: " + ", ".join(names[:8]) + ", ... and 15 more"
    assert did_you_mean("x", names[:9]).endswith("folder08")  # for one more a name is shorter


def test_hidden_names_are_not_offered() -> None:
    assert did_you_mean("git", [".git", "data"]) == "; known: data"
    assert did_you_mean("git", [".git"]) == ""


def test_an_error_is_one_line_whatever_the_names_in_it() -> None:
    assert one_line(UserError("a\nb\x1b[0m ü")) == "a\\nb\\x1b[0m ü"


def test_an_error_that_quotes_a_whole_file_is_cut() -> None:
    line = one_line(UserError("key: " + "\n" * 1_000_000 + " end"))
    assert len(line) < 5_000
    assert line.startswith("key: ") and line.endswith(" end")
