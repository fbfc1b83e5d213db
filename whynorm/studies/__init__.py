"""Studies: each is a specification (TOML, beside this file), runs, a figure, and a paragraph made from its numbers.

One file per study: its ``Spec``, ``run`` (plain data), ``paragraph`` and ``figures`` (both from that data alone).
``study.py`` has them all by name.
"""
