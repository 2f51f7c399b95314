"""Words and utterances with times, and the files that hold them.

One module a format: what it reads and writes, and how exactly. `read_words` and `write_words`, `write_segments` choose it by the
suffix. Times are seconds, intervals half-open, and silence is a gap; what is not known is None.
"""

from utterloom.annotations.reading import WordsRead, read_words
from utterloom.annotations.records import Fault, TimedSegment, TimedWord
from utterloom.annotations.writing import Written, write_segments, write_word_files, write_words

__all__ = ["Fault", "TimedSegment", "TimedWord", "WordsRead", "Written", "read_words", "write_segments", "write_word_files",
           "write_words"]
