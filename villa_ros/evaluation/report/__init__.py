"""Parts of the HTML report of an evaluation: what is in it, its pictures, and the page itself."""
