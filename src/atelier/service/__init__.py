"""`atelier serve`: champions over HTTP, as they are promoted.

fleet       which version answers, followed in the registry
batches     what waits for the networks, together where it fits
app         the routes; pages/ is what a browser gets
door        how much is let in at once
measures    what Prometheus reads
sightings   statistics of the pictures that came, for monitoring
"""
