"""Pure functions that several packages share. What only one package uses does not belong here."""
