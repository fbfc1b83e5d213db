"""The one exception that means: the input is at fault, not the program."""

from __future__ import annotations

__all__ = ["InputError", "expected"]


class InputError(ValueError):
    """Input that cannot be used. Its message is one line: the value, what was expected, what to do.

    The command line prints the message alone and exits with code 2.
    """


def expected(name: str, value: object, expectation: str, remedy: str) -> InputError:
    """Build the error "NAME is VALUE; expected EXPECTATION; REMEDY", on one line whatever the value holds."""
    try:
        shown = " ".join(repr(value).split())
    except ValueError:
        # Python writes out no integer of more than 4300 digits.
        shown = "an integer of thousands of digits"
    if len(shown) > 120:
        shown = f"{shown[:117]}..."
    return InputError(f"{name} is {shown}; expected {expectation}; {remedy}")
