"""Pictures and pages made of results; presentation only."""
