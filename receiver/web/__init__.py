"""HTTP and nothing else: deliveries in, answers out."""
