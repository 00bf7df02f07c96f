"""The open leaderboard: its board of numbers, and what follows from it in words."""
