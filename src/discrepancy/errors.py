"""The one exception that users see: something they gave is not what it should be."""

from __future__ import annotations


class InputError(ValueError):
    """A file, folder or parameter that the user gave cannot be used.

    The message names it, says what was found and what was expected. The command line shows the message
    alone; every other exception is a fault of the program and keeps its traceback.
    """
