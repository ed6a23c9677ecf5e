"""The DIMSE gateway: DICOM's classic network protocol (PS3.7, PS3.8) in front of the core.

It is a client of the gRPC contract and has no data of its own. pynetdicom supplies the association PDUs and SOP
classes; `associations` reads and writes the messages, `services` has one module for each DIMSE service.
"""
