"""What programs do with their own process and with others of the machine.

Memory, modes of new files, messages to the service manager, calls over a socket.
"""
