"""What is printed: foreign text as text, and nothing but our own words on standard output."""
