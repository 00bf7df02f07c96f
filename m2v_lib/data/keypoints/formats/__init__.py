"""Files of detectors, one reader a family of formats; content decides which is used."""
