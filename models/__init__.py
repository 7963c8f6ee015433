"""Architectures, data sets, training, export and the zoo of shipped networks. Knows the verifier, not the command line."""
