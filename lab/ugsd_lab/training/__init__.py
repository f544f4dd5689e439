"""Training of drafters and verifier, and the fit of the rejection predictor."""
