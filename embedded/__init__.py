"""How the weights in `adapters/` were made: data, training and measuring, each a module to run."""
