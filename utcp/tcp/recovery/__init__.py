"""Loss detection and recovery."""
