"""`GET /v1/lists/hashed` on a running gateway."""

import asyncio
import hashlib

from gateway.api.account import Role
from gateway.entry.entry import DeliveryReason

WHY = {"Gateway-Reason": "contract 5"}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


async def test_bans_are_told_as_hashes_and_bounces_are_not(house):
    officer, admin = await house.caller(Role.OFFICER), await house.caller(Role.ADMIN)
    await house.gateway.ban("a@example.com", "b+x@example.com")
    await house.gateway.allow("free@example.com")
    async with house.gateway.register() as register:
        await register.undeliverable(DeliveryReason.COMPLAINT, "bounced@example.com")
    ban = {"contact": "closed@example.com", "scope": "disclosure"}
    assert (await officer.post("/v1/bans", ban))[0] == 200
    ban = {"contact": "a@example.com", "scope": "disclosure"}
    assert (await officer.post("/v1/bans", ban))[0] == 200
    status, text, headers = await officer.ask(
        "GET", "/v1/lists/hashed?scheme=sha256:trim-lower", headers=WHY
    )
    assert status == 200, text
    assert headers["Content-Disposition"] == 'attachment; filename="bans-sha256-trim-lower.txt"'
    lines = text.splitlines()
    assert lines == sorted(lines)
    assert set(lines) == {sha256(f"{one}@example.com") for one in ("a", "b", "b+x")}
    # For a supplier who has banned disclosure is left out.
    _, text, _ = await officer.ask(
        "GET", "/v1/lists/hashed?scheme=sha256:trim-lower&purpose=supplier", headers=WHY
    )
    assert sha256("a@example.com") not in text
    assert sha256("b@example.com") in text
    _, text, _ = await officer.ask(
        "GET", "/v1/lists/hashed?scheme=md5:trim-upper&scope=disclosure", headers=WHY
    )
    assert hashlib.md5(b"CLOSED@EXAMPLE.COM").hexdigest() in text

    for _ in range(600):
        _, said = await admin.get("/v1/acts?actor=officer-1&action=export")
        if len(said["acts"]) == 6:
            break
        await asyncio.sleep(0.1)
    assert len(said["acts"]) == 6
    assert {act["reason"] for act in said["acts"]} == {"contract 5"}
    counts = [act["detail"] for act in said["acts"] if "contacts" in act["detail"]]
    assert {one.get("excluded_disclosure_ban") for one in counts} == {None, 2}


async def test_what_is_refused(house):
    officer, tool = await house.caller(Role.OFFICER), await house.caller(Role.TOOL)
    path = "/v1/lists/hashed?scheme=sha256:trim-lower"
    assert (await tool.get(path, headers=WHY))[0] == 403
    status, problem = await officer.get(path)
    assert (status, "Gateway-Reason" in problem["detail"]) == (422, True)
    for query, pointer in (
        ("scheme=crc32:trim-lower", "/scheme"),
        ("scheme=sha256:trim-lower:hmac-0011aabb", "/scheme"),
        ("scheme=sha256:trim-lower&scope=topic", "/topic"),
        ("scheme=sha256:trim-lower&scope=everything", "/scope"),
    ):
        status, problem = await officer.get(f"/v1/lists/hashed?{query}", headers=WHY)
        assert (status, problem["errors"][0]["pointer"]) == (422, pointer), query
