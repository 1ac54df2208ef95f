"""The link between gateways and embedder replicas."""
