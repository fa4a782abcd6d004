"""What a model is worth: protocols of prompting, runs over cases, statistics and reports."""
