"""Sampled mode: groups of completions, training by sampled rules, runs that resume, parity with TRL."""
