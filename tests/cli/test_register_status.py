"""`register status`: how large the register is, and whether it has room."""

from gateway.register.fill import FULL
from tests.cli.conftest import BY


def test_a_small_register_has_room(either):
    either.good("register", "ban", "anna@example.com", *BY)
    [row] = either.good("register", "status", "--json").rows
    assert (row["entries"], row["bits"], row["too_full"]) == (1, 16, False)
    assert "1 entries in 65536 buckets" in either.good("register", "status").out


def test_too_full_is_told_with_the_remedy(stopped):
    stopped.configure(register={"bucket_bits": 6})
    source = stopped.folder / "list.csv"
    count = 64 * (FULL + 10)
    source.write_text("email,ban\n" + "".join(f"p{n}@example.com,all\n" for n in range(count)))
    stopped.good("register", "import", source, *BY)
    done = stopped.good("register", "status", status=1)
    assert f"{count} entries in 64 buckets" in done.out
    assert "register rebuild --bits 8" in done.out
    assert f"{count} events wait" in done.out
