"""How a voice sounds, as data: attributes with values, confidence and who decided them."""
