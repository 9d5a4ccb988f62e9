"""Short clips of real video with outlines and requests made by hand, as a test set: nothing is trained on it.

Outlines, requests and the list of sources ship; the videos belong to others and are fetched by `villa data real-clips`.
The clips of the half `held` judge a model once, when it is done; those of `seen` may be looked at while it is built.
"""
