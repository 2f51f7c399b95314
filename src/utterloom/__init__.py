"""utterloom: raw speech recordings in, speech models you can ship out."""

__version__ = "0.1.0"
