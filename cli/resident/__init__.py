"""A resident server: a process that has imported everything, and forks for each command, which then starts in a tenth of the time.

Importing torch is nine tenths of what a small query takes. `advverify serve` pays it once; the `advverify` command asks the server
where one listens and is its caller's process in all that can be seen: files, directory, environment, limits, signals, exit status.
"""
