"""Series: an annotator goes through the images of a data set, with and without learning."""
