"""The web explorer: an application of static ES modules in the folder `web`, and the code that serves it."""
