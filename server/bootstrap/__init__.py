"""The composition of the core: the one place where settings, adapters, domain and servicers meet.

`components` constructs each part once, whatever a process does with it. The entry points open what they need and use
these parts: `serving` answers calls, `working` works on operations, `maintenance` and `checks` look after an archive.
"""
