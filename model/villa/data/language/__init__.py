"""Requests in words about clips whose facts are known."""
