"""Networks, and the folder that a model is. Importing this module teaches transformers' Auto classes our architectures."""

from utterloom.models.ctc import ConformerCTCConfig, ConformerForCTC, register

__all__ = ["ConformerCTCConfig", "ConformerForCTC"]

register()
