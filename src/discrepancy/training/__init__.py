"""Training by gradient descent: the loop, checkpoints, several processes."""
