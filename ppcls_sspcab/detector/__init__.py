"""Network, image score, anomaly map and thresholds as one layer."""
