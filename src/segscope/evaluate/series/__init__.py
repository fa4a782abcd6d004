"""Series: an annotator goes through the pictures of a data set, with and without learning."""
