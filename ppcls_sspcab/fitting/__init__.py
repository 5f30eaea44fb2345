"""From a trained network to a fitted, calibrated detector."""
