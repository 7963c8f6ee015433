"""One command a file; `main.COMMANDS` names them, in the order in which a user needs them."""
