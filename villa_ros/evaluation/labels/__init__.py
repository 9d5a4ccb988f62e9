"""Masks that a person corrects, written and read back."""
