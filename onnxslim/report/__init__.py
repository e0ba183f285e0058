"""What was done to a model, for people and for programs."""
