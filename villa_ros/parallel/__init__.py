"""Many items of work over processes of this machine or over a Ray cluster."""
