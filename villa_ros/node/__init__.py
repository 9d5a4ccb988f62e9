"""The lifecycle node: subscriptions, publishers, parameters, diagnostics and the action."""
