"""Words and text with times, and the files that hold them."""
