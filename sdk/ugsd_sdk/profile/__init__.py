"""Speaker profiles, which are never sent."""
