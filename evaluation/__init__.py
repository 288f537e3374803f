"""How good generated sounds are: measures over pairs of folders, as tables and a report."""
