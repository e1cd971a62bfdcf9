"""What an image shows, as one of several classes."""
