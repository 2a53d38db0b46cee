"""A method for `discrepancy`: distance to the mean features of good images."""
