"""Log-linear softmax bandits: problems, the update rules run on them, and exact expectations over the prompt order."""
