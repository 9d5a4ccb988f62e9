"""Videos read and written, and the sheets of pictures made of them."""
