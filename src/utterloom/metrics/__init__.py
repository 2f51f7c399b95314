"""Error rates by utterance id, with counts and intervals; imports no torch.

`error_rates` aligns and counts, `intervals` bootstraps, `scoring` joins references and hypotheses into a report.
"""
