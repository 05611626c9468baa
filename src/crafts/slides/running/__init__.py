"""The work spread over processes or machines, and its results published."""
