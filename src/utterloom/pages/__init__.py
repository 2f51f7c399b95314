"""HTML for people: pages that hold all that they show, and open without a network."""
