"""One module per group of subcommands; each imports what is slow inside the function that needs it."""
