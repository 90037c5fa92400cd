"""The programs here are run by tests, not imported."""

collect_ignore_glob = ["[!tc]*.py"]
