"""Pixels of single frames: read from every transfer syntax, written in many.

`syntaxes` says what can be done and is light; `decode` and `encode` bring arrays and codecs with them and are for
worker processes only.
"""
