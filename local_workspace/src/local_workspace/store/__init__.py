"""What is kept: the state folder, the database, and files that are written as a whole."""
