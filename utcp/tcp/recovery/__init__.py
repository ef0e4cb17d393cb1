"""What is lost, and what follows from it."""
