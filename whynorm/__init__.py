"""The command, the verification run, the report. Parts that are slow to import are imported where they are used."""

__version__ = "0.1.0"
