"""An independent model of what libglb computes, written from the documents alone, to check the C against.

Standard library only; never imports glbpy and shares no code with native/. Slow and plain on purpose.
"""
