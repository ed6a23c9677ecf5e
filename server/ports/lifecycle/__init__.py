"""What the domain needs to store about objects besides the objects themselves."""
