"""The running process: its devices, its memory, how it rounds, and what a result was made with."""
