"""What every layer may use: errors, events, safe file writing, seeds, hashes. Imports no torch."""
