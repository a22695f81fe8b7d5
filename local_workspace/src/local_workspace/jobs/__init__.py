"""Jobs: their settings, and their runs from the trigger to the end."""
