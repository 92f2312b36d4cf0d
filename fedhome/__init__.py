"""fedhome: many homes learn one model together, and each gets its own version of it back."""
