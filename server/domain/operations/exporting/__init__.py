"""Operation type `export`: copies instances to a container, bucket or folder (`ExportRequest` of the contract)."""
