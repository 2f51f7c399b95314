"""Sound: probe, decode, resample, encode. Importing this package imports no audio library; each function does, when called.

Import from the modules (`from utterloom.audio.decode import decode`): a function that is named as its module cannot also
be re-exported here, since which of the two `utterloom.audio.decode` means would depend on what was imported first.
"""
