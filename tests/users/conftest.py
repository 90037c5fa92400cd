"""The programs here are run by tests, not imported."""

collect_ignore = ["classifier.py", "tagger.py", "forecast.py"]
