"""Small stand-ins that several test files share."""
