"""What chapters use to show: source listings, exercises, plots and skeletons to turn."""
