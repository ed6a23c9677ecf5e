"""Transfers with remotes: the gateway retrieves, sends and notifies, as the core records it; and forward rules."""
