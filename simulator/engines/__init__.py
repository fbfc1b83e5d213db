"""Fast engines: each reproduces ``simulator.reference.simulate`` for many replicas at once."""
