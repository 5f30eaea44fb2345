"""A detector for the runtimes: written, verified, quantised."""
