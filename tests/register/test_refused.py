"""Credit and collection data and personal identity codes never come in by an import."""

import json

import pytest

from gateway.failure import InputError
from gateway.register.importing import import_file
from gateway.register.refused import refused
from gateway.register.register import Register
from gateway.register.rows import ALIASES, COLUMNS

CODE = "131052-308T"


@pytest.fixture
def load(register_url, ring, tmp_path):
    async def load(content, *, name="list.csv", **options):
        path = tmp_path / name
        path.write_text(content)
        async with await Register.open(register_url, ring) as register:
            result = await import_file(path, register, actor="test", **options)
            return result, await register.position()

    return load


@pytest.mark.parametrize(
    "header",
    ["Luottotiedot", "luottotietomerkintä", "Perintä", "PERINTÄ_TILA", "perinta", "credit_score",
     "Credit rating", "hetu", "HETU ", "Henkilötunnus", "personal_identity_code", "Personnummer",
     "person-nummer", "Maksuhäiriömerkinnät", "ulosotto", "debt collection", "SSN"],
)  # fmt: skip
async def test_a_column_for_it_refuses_the_whole_file(load, header):
    with pytest.raises(InputError, match="take it out of the file") as said:
        await load(f"email,{header}\na@example.com,x\n")
    assert repr(header.strip()) in str(said.value)
    with pytest.raises(InputError, match="take it out of the file"):
        await load(json.dumps({"email": "a@example.com", header: 1}) + "\n", name="list.ndjson")
    with pytest.raises(InputError, match="take it out of the file"):
        await load(f"email,{header}\na@example.com,x\n", mapping={"source": header.strip()})


def test_our_own_columns_and_harmless_ones_are_not_refused():
    for header in (*COLUMNS, *ALIASES, "perintö", "collection", "person_id", "name", "Lähde", ""):
        assert refused(header) is None


async def test_a_code_in_any_cell_makes_the_row_bad(load):
    content = (
        "email;Lisätieto;source\n"
        "a@example.com;ok;crm\n"
        f"b@example.com;asiakas {CODE};crm\n"
        f"c@example.com;ok;{CODE.lower()}\n"
        f"{CODE}@example.com;ok;crm\n"
        "d@example.com;131052-308U;crm\n"
    )
    result, position = await load(content)
    assert not result.applied
    assert position == "0-0"
    assert [(bad.line, bad.column) for bad in result.bad] == [
        (3, "Lisätieto"),
        (4, "source"),
        (5, "email"),
    ]
    assert "131052" not in repr(result).replace("131052-308U", "")
    assert all("personal identity code" in bad.cause for bad in result.bad)
    result, _ = await load(content, skip_bad=True)
    assert (result.rows, result.bad_count, result.applied) == (2, 3, True)


async def test_a_code_anywhere_in_a_json_line_makes_it_bad(load):
    rows = [
        {"email": "a@example.com", "note": {"deep": [CODE]}},
        {"email": "b@example.com"},
    ]
    result, _ = await load("".join(json.dumps(row) + "\n" for row in rows), name="l.ndjson")
    assert [(bad.line, bad.column) for bad in result.bad] == [(1, "note")]
    assert CODE not in repr(result)
