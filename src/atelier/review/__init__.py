"""Looking back: what a version was made of, what it is compared with, and making it again."""
