"""No address leaves a washed list unasked."""

import pytest

from gateway.contacts.digest import KeyRing
from gateway.decision.facts import Kind
from gateway.decision.load import find_rules, load_rules
from gateway.failure import InputError
from gateway.gate import Gate
from gateway.message.traits import Traits
from gateway.register.register import Register
from gateway.wash import wash_file

RULES = load_rules(find_rules("opt-out"))


@pytest.fixture
async def gate(register_url):
    async with await Register.open(register_url, KeyRing({"k1": bytes(32)}, "k1")) as register:
        yield Gate(register)


async def wash(gate, tmp_path, text, **more):
    source = tmp_path / "in.csv"
    source.write_bytes(text.encode())
    outputs = [tmp_path / "go.csv", tmp_path / "stop.csv"]
    result = await wash_file(
        source, *outputs, gate=gate, rules=RULES, traits=Traits(kind=Kind.MARKETING), **more
    )
    return result, *(path.read_text() for path in outputs)


async def test_a_quote_that_is_never_closed_hides_nobody(gate, tmp_path):
    with pytest.raises(InputError, match="quote"):
        await wash(gate, tmp_path, 'email,name\na@example.com,"oops\nb@example.com,y\n')
    assert not (tmp_path / "go.csv").exists()


async def test_cells_beyond_the_header_are_not_let_through(gate, tmp_path):
    result, go, stop = await wash(gate, tmp_path, "email\na@example.com,banned@example.org\n")
    assert (result.may_go, result.unreadable) == (0, 1)
    assert "example" not in go
    assert "more cells" in stop


async def test_two_columns_of_addresses_are_refused(gate, tmp_path):
    with pytest.raises(InputError, match="two columns"):
        await wash(gate, tmp_path, "email,email\na@example.com,b@example.com\n")


async def test_old_line_ends_are_told(gate, tmp_path):
    with pytest.raises(InputError, match="line ends"):
        await wash(gate, tmp_path, "email\ra@example.com\rb@example.com\r")


async def test_the_reason_stands_under_its_heading_in_short_rows(gate, tmp_path):
    _, _, stop = await wash(gate, tmp_path, "name,email,town\nAino,nobody\n")
    header, row = stop.splitlines()
    assert header.split(",")[3] == "gateway_outcome"
    assert row.split(",")[3] == "suppress"


async def test_the_list_is_never_its_own_output(gate, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("email\na@example.com\n")
    with pytest.raises(InputError, match="three files"):
        await wash_file(
            source,
            source,
            tmp_path / "s.csv",
            gate=gate,
            rules=RULES,
            traits=Traits(kind=Kind.MARKETING),
        )
    assert source.read_text() == "email\na@example.com\n"
