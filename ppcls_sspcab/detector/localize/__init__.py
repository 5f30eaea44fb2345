"""Anomaly maps: where in a picture the defect is."""
