"""The same update rules on a real LoRA language model: models, tasks, exact policies, training, measurements.

Importing this package does not import torch; its modules do.
"""
