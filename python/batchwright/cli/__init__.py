"""The command line: a layer above the package, which nothing in the package imports.

Standard output is data, standard error is talk. `main` has the program and its end, each other
module some verbs or one concern that verbs share.
"""
