"""Run tasks in order: here, in processes of our own, in an executor, on a cluster."""
