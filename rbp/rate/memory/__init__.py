"""What is kept between the two halves of a rule, and every way to keep or compute less."""
