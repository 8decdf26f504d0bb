"""An invented shop: pictures drawn by rule, products and shoppers, so that the truth about each is known."""
