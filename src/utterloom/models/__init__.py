"""Networks, and the folder that a model is. transformers' Auto classes know ours once utterloom is imported."""
