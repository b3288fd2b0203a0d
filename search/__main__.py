"""`python -m search` is `fertune`."""

from search.cli import main

main()
