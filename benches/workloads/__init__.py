"""The workloads, one module a concept; each module lists its own in `WORKLOADS`."""
