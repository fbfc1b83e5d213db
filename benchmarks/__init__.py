"""Speed, measured side by side: peers and the limit in the same run, as ratios. Never part of the tests."""
