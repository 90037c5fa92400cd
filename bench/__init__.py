"""Side-by-side measurements: `python -m bench engine`.

Each library runs in a process of its own, with the same number of threads, and they take turns
(A B A B ...), so that a machine whose speed drifts treats them alike. The ratio is the result.
"""
