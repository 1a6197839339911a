"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message names the file, key or value, says what was expected, and how to mend it.
    Entry points print it without a traceback and exit with status 2.
    """
