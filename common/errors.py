"""The root of all errors that ReaderFlow raises on purpose."""


class ReaderFlowError(Exception):
    """A known failure. Its text says in one line what happened, where, and how to mend it.

    The command line prints it without a traceback and exits with status 1.
    """


class BadInput(ReaderFlowError):
    """A value that a user gave (a month, a title, a file) can't be used."""


class Unavailable(ReaderFlowError):
    """A store did not answer in time; nothing is lost, and trying again may help (see common/patience.py)."""
