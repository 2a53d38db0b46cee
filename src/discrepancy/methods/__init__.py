"""Detection methods, one folder per paper, and the code that several of them share."""
