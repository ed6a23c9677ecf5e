"""What the programs share besides the contract: how settings are read, TLS files, and addresses. No program logic."""
