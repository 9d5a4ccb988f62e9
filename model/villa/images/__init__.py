"""Image files that come from outside, checked before they are decoded."""
