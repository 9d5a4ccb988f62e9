"""Objects of a scene: detected, described in relation to each other, referred to and selected."""
