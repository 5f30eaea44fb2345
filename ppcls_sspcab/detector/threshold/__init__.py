"""From scores of good pictures to a threshold, one method a file."""
