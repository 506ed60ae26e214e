"""A campaign under FireWorks: submitted, queued, watched, repaired.

With the command line the only place that knows FireWorks.
"""
