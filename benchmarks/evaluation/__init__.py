"""Whether the intervals of `egfr-dls evaluate` cover what they say, on cohorts of known truth, and how long it takes."""
