"""What a detector finds on test pictures, in figures, plots and a page."""
