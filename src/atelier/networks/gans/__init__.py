"""The two networks of each GAN, one file an architecture.

The build tables are in generators and discriminators.
"""
