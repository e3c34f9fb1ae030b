"""What a user can mend."""


class UserError(ValueError):
    """Bad input, configuration, data or checkpoint; the message is one line that names the remedy.

    The command line prints it and exits with 2. Any other exception is a fault of the program and
    keeps its traceback.
    """
