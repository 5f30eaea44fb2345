"""Image scores: from the features of a picture to one number."""
