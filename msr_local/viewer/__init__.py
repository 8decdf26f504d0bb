"""What a person sees: Rich renderables for the terminal, and one HTML page that stands alone."""
