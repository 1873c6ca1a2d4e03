"""What a new version is judged by."""
