"""The one exception that users see: an input is not as expected."""

from __future__ import annotations


class InputError(ValueError):
    """A file, folder or parameter given by the user that cannot be used.

    The message names it, and says what was found and what was expected. The command line shows the message alone; every
    other exception is a fault of the program and keeps its traceback.
    """
