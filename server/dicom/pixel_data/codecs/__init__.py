"""Codecs for single frames: decoders for every supported transfer syntax, encoders for many.

`syntaxes` states what is supported and is light; `decode` and `encode` import arrays and codecs, and are for worker
processes only.
"""
