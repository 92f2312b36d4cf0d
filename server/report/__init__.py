"""The report of one run, or the comparison of several, as one file that needs no network."""
