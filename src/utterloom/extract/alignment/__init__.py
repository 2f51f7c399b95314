"""Forced alignment: where in a recording each token, character and word of a known text is spoken."""
