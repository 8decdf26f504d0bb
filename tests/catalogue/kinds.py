"""Two small files, and what became of them."""

STEPS = "user_id,item_id,timestamp\n" + "".join(f"u{n % 4},{n % 6},{10**9 + 1000 * n}\n" for n in range(24))
GOODS = "item_id,title,colour\n" + "".join(f"{n},Good {n},red\n" for n in range(6))


def titles(rows):
    return [title for (title,) in rows("SELECT title FROM items ORDER BY rowid")]
