"""What a server may ask of homes, what they respond, and what of it is summed."""
