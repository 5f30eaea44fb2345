"""The service's routes, a file for each protocol; all judge by :class:`Inspector`."""
