"""Checkpoint files and folders: written, read strictly, migrated, fetched, and put together from published parts."""
