"""The theory's constants measured on a model, with intervals and costs."""
