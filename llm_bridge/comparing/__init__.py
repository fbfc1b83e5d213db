"""Does the theory predict the model: predictions, step-size gap, evidence."""
