"""Documentation, and the commands that make its pictures, sounds and tables."""
