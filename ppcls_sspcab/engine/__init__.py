"""Training, evaluation, prediction and export of detectors, in the shape of PaddleClas's engine."""
