"""Sweeps: many runs from one specification, computed by any number of workers, killed at any moment, nothing lost.

``spec`` reads the TOML file, ``plan`` expands it to runs (``runspec``) and packs them into tasks, ``coordinate`` hands
tasks to an executor (``executors``, ``clusters``), whose workers ``perform`` them: ``execute`` runs, ``pack`` writes
the rows as Parquet, ``store`` commits the file. ``manifest`` indexes the files; ``results`` reads them.
"""
