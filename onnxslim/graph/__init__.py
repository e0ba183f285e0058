"""Reading, editing, checking and saving models."""
