"""The worker side: prepares a collection's functions and runs its jobs.

Runs on the node as a folder (``python .../_node``), under the name ``_batchwright_node``, so that
the package itself is never imported there; in the owner's process as ``batchwright._node``.
Its modules therefore import each other relatively, and nothing else of the package.
"""
