"""How fast our CPU backends are beside what a user would pick for the same weights: `python -m tests.benchmarks.speed`.

Every contestant runs in a process of its own and answers requests over a pipe; the parent lets one of them
work at a time, in random order, and throws away what other programs disturbed. See README.md beside this.
"""  # noqa: E501
