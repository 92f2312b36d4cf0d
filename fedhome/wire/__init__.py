"""What travels: messages as bytes, parameters as one flat array, a home's exchange."""
