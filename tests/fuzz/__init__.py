"""Hostile input for every decoder: small functions from bytes to nothing, each with the promise that it holds.

    registry            what a target is, and all of them by name
    dice                structured input: bytes that decide
    wire members session outside papers joins documents stores      the targets, by theme
    bounds              one input under its limit of time
    fuzzing             atheris over a target, in a process of its own
    corpus/TARGET/      valid inputs, and every input that ever failed

`python -m tests.fuzz --help` says how to run them; `test_corpus.py` runs all of them without atheris.
"""
