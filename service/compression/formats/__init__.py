"""Further formats of a float model, made, checked and judged: for the command line and for jobs."""
