"""Which addresses are a legal person's, and which stay a natural person's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.parse import parse_contact
from gateway.decision.facts import PersonClass
from gateway.failure import InputError
from gateway.records.unsealing import Unsealer
from gateway.subject import ytj
from gateway.subject.organisations import Organisations
from tests.subject.conftest import WHO


def company(business_id="2701131-6", form="16", name="LamisNET Oy", **more):
    """As the register gives it (YTJ open data, version 3)."""
    return {
        "businessId": {"value": business_id, "registrationDate": "2015-05-01", "source": "3"},
        "names": [
            {"name": "Vanha Oy", "type": "1", "endDate": "2016-01-01", "version": 2, "source": "1"},
            {"name": "Aputoiminimi", "type": "3", "version": 1, "source": "1"},
            {"name": name, "type": "1", "version": 1, "source": "1"},
        ],
        "companyForms": [
            {"type": "5", "endDate": "2016-01-01", "version": 2, "source": "1"},
            {
                "type": form,
                "descriptions": [{"languageCode": "1", "description": "Osakeyhtiö"}],
                "version": 1,
                "source": "1",
            },
        ],
        **more,
    }


def write(path, *companies):
    path.write_text(json.dumps({"totalResults": len(companies), "companies": companies}))
    return path


def test_the_current_form_and_name_count(tmp_path):
    path = write(
        tmp_path / "ytj.json",
        company(),
        company("0112038-9", "OYJ", "Nokia Oyj"),
        company("1572860-0", "19", "Foreign branch"),
        company("1000000-4", "16", "Ended Oy", endDate="2020-01-01"),
    )
    found = {each.business_id: each for each in ytj.read(path)}
    assert found["2701131-6"] == ytj.Company("2701131-6", "LamisNET Oy", "OY", True)
    assert found["0112038-9"].legal_person
    assert not found["1572860-0"].legal_person
    assert not found["1000000-4"].legal_person


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=20), st.sampled_from(["16", "x"])),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["object", "array", "lines"]),
    st.integers(1, 64),
)
def test_a_snapshot_reads_the_same_in_every_form_and_in_pieces_of_every_size(
    tmp_path_factory, companies, form, piece
):
    path = tmp_path_factory.mktemp("ytj") / "f.json"
    rows = [company(form=kind, name=name) for name, kind in companies]
    texts = {
        "object": json.dumps({"totalResults": 3, "companies": rows}, ensure_ascii=False),
        "array": json.dumps(rows, indent=1, ensure_ascii=False),
        "lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
    }
    path.write_text(texts[form], encoding="utf-8", newline="")
    before = ytj._PIECE
    ytj._PIECE = max(piece, 40)
    try:
        found = list(ytj.read(path))
    finally:
        ytj._PIECE = before
    assert [(each.name or "Aputoiminimi") for each in found] == [
        name or "Aputoiminimi" for name, _ in companies
    ]
    assert [each.legal_person for each in found] == [kind == "16" for _, kind in companies]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"companies": [{"businessId"', "middle of company 1"),
        ('{"companies": [', "no end"),
        ('{"companies": []}', "no company"),
        ("[1]", "company 1"),
        ('[{"businessId": {"value": "2701131-7"}, "names": [], "companyForms": []}]', "company 1"),
        ('[{"names": [], "companyForms": []}]', "businessId"),
        ("", "no company"),
    ],
)
def test_what_is_no_snapshot_is_refused_by_its_place(tmp_path, text, cause):
    path = tmp_path / "ytj.json"
    path.write_text(text)
    with pytest.raises(InputError, match=cause) as error:
        list(ytj.read(path))
    assert str(path) in str(error.value)


@pytest.fixture
def organisations(site):
    return Organisations(site.database, site.register, site.recorder)


async def _class_of(site, address):
    (standing,) = await site.register.look_up([parse_contact(address)])
    return standing.facts(parse_contact(address).channel, None, None, 0).person_class


async def test_a_roles_address_of_a_known_company_is_a_legal_persons_and_a_named_one_never(
    site, organisations, tmp_path
):
    await organisations.import_snapshot(write(tmp_path / "ytj.json", company()), WHO)
    link, changed = await organisations.link("LamisNET.fi", "27011316", WHO, source="contract 5")
    assert link.legal_person
    assert changed > 30
    assert await _class_of(site, "info@lamisnet.fi") is PersonClass.LEGAL
    assert await _class_of(site, "posti@lamisnet.fi") is PersonClass.LEGAL
    assert await _class_of(site, "maija.virtanen@lamisnet.fi") is PersonClass.NATURAL
    assert await _class_of(site, "info@other.fi") is PersonClass.NATURAL
    logged = await site.register.history(parse_contact("info@lamisnet.fi"))
    (event,) = await Unsealer(site.sealer, site.custody).with_evidence(logged)
    assert (event.source, event.evidence) == ("contract 5", "2701131-6 OY")
    assert (await organisations.link("lamisnet.fi", "2701131-6", WHO, source="again"))[1] == 0
    assert await organisations.unlink("lamisnet.fi", WHO) == changed
    assert await _class_of(site, "info@lamisnet.fi") is PersonClass.NATURAL


async def test_what_is_unknown_stays_natural_until_a_snapshot_knows_it(
    site, organisations, tmp_path
):
    link, changed = await organisations.link("lamisnet.fi", "2701131-6", WHO, source="x")
    assert (link.legal_person, changed) == (False, 0)
    assert await site.register.history(parse_contact("info@lamisnet.fi")) == []
    done = await organisations.import_snapshot(write(tmp_path / "a.json", company()), WHO)
    assert done.classified > 30
    assert await _class_of(site, "info@lamisnet.fi") is PersonClass.LEGAL
    other = company("0112038-9", "OYJ", "Nokia Oyj")
    gone = await organisations.import_snapshot(write(tmp_path / "b.json", other), WHO, whole=True)
    assert (gone.gone, gone.classified) == (1, done.classified)
    assert await _class_of(site, "info@lamisnet.fi") is PersonClass.NATURAL


async def test_a_ban_stands_whatever_the_class(site, organisations, tmp_path):
    await site.ban("info@lamisnet.fi")
    await organisations.import_snapshot(write(tmp_path / "ytj.json", company()), WHO)
    await organisations.link("lamisnet.fi", "2701131-6", WHO, source="x")
    assert await site.scopes("info@lamisnet.fi") == {"ban_all"}


async def test_a_domain_where_anybody_has_a_mailbox_is_no_organisations(organisations):
    with pytest.raises(InputError, match="anybody has a mailbox"):
        await organisations.link("gmail.com", "2701131-6", WHO, source="x")
    with pytest.raises(InputError, match="not a Y-tunnus"):
        await organisations.link("lamisnet.fi", "2701131-7", WHO, source="x")
    with pytest.raises(InputError, match="not linked"):
        await organisations.unlink("lamisnet.fi", WHO)
