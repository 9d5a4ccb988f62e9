"""Training data: rendered table-top clips with exact masks, and requests made from each scene's facts."""
