"""SEAL: scaling to emphasize attention for long-context retrieval (ACL 2025)."""
