"""The command line, one file per family of commands; each has `register(app)`."""
