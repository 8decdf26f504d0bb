"""msr-local: a recommender that looks at the pictures, reads the history and explains itself, locally."""
