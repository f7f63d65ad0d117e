"""What each foreign suppression list looks like: one pure module a system."""
