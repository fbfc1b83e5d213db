"""Bringing a model here: names, downloads checked by hash, files, adapters."""
