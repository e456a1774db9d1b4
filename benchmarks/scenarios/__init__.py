"""What is measured, one module per question; each function runs one round of one subject and returns its sample."""
