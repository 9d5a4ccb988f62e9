"""Runs and live nodes shown in the Rerun viewer."""
