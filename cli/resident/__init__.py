"""A resident server: a process that has imported everything, and forks for each command, which then starts at once.

Importing torch is most of what a small query takes. `advverify serve` pays for it once; the `advverify` command asks the server
where one listens and is its caller's process in all that can be seen: files, directory, environment, limits, signals, exit status.
"""
