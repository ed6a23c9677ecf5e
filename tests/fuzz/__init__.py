"""Coverage-guided fuzzing of everything that parses bytes of clients (`make fuzz`): targets, seeds, process, run."""
