"""What the shop of the evaluation's tests holds."""

FILMS = [f"f{n:02}" for n in range(30)]
