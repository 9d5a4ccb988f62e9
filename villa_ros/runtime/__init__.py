"""What every process of this package needs to start and run, and knows no camera or request."""
