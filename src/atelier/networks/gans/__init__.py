"""The two networks of each GAN, one file an architecture; the build tables are in generators and discriminators."""
