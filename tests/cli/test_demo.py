"""`msr-local demo` from end to end: 300 drawn products, and the truth about them is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ran

from embedded import words
from msr_local.demo.catalogue import products
from msr_local.demo.users import matches, shoppers
from msr_local.store.workspace import Workspace

Cli = Callable[..., Ran]


def test_the_demo_recommends_and_explains(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    first = cli("--home", home, "demo")
    assert first.code == 0, first.err
    for said in ("ada over time", "This person", "Recommended now", "interval"):
        assert said in first.out, said
    for said in ("More of this shop:", "Your own data:", "A larger model"):
        assert said in first.err, said
    looks = {product.item_id: product.look for product in products()}
    captions = {one["item_id"]: one["caption"] for one in cli("--home", home, "items", "-n", "999", "--json").json}
    right = [all(words.names(captions[key], word) for word in look.name.split()) for key, look in looks.items()]
    assert len(right) == 300 and sum(right) / len(right) >= 0.9
    recommended = cli("--home", home, "recommend", "ada", "--json").json["items"]
    (ada,) = (one for one in shoppers() if one.user_id == "ada")
    fitting = [matches(ada.tastes[-1], looks[one["item_id"]]) for one in recommended]
    common = sum(matches(ada.tastes[-1], look) for look in looks.values()) / len(looks)
    assert sum(fitting) / len(fitting) >= 4 * common  # far more to her present taste than by chance

    again = cli("--home", home, "demo")
    assert (again.code, again.out) == (0, first.out)


def test_the_demo_keeps_to_itself(cli: Cli, shop: tuple[Path, Path], tmp_path: Path) -> None:
    cli("ingest", *shop, "--no-captions")
    with Workspace(tmp_path / "home") as workspace:
        workspace.set_setting("demo", True)  # an older demo's
    refused = cli("--home", tmp_path / "home", "demo")
    assert refused.code == 1 and "other items" in refused.err
    assert len(cli("items", "-n", "99", "--json").json) == 12


@pytest.mark.parametrize("user", ["nobody", "[bold]ada", "-a", "%", ""])
def test_an_unknown_shopper_is_a_clear_error_before_anything_is_drawn(cli: Cli, tmp_path: Path, user: str) -> None:
    ran = cli("--home", tmp_path / "demo", "demo", f"--user={user}")
    assert ran.code == 1 and f"no user {user!r}" in ran.err and "Next: --user with one of ada, " in ran.err
    assert not (tmp_path / "demo" / "shop").exists()


def test_the_environment_says_where_the_demo_is_too(
    cli: Cli, shop: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert cli("ingest", *shop, "--no-captions").code == 0
    refused = cli("demo")  # MSR_LOCAL_HOME names the workspace of the shop
    assert refused.code == 1 and f"{tmp_path / 'home'}: this workspace holds other items" in refused.err
    monkeypatch.setenv("MSR_LOCAL_HOME", str(tmp_path / "own"))
    assert cli("demo", "--user", "nobody").code == 1 and (tmp_path / "own" / "msr.db").exists()
    assert not (tmp_path / "data").exists()
    monkeypatch.delenv("MSR_LOCAL_HOME")
    assert cli("demo", "--user", "nobody").code == 1
    assert (tmp_path / "data" / "msr-local-demo" / "msr.db").exists()
