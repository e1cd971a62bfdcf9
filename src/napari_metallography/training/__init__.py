"""Training: samples, augmentation, the loop."""
