"""Branch and bound over binaries where the rows of an unsafe set say most when they are taken together."""
