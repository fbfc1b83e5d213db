"""What a model is asked, what is right, and which questions are easy or hard for it."""
