"""The inference rules that prediction, training and validation share."""
