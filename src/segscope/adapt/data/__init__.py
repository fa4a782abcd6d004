"""Training data: cases of a data set, sampled and augmented."""
