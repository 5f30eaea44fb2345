"""From a detector's output to records (section ``Infer.PostProcess``)."""
