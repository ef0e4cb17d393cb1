"""What mutation testing found untested: changes to the closing paths that no other test noticed."""
