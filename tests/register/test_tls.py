"""The register over TLS: one server, a Cluster, Sentinel; real servers that speak nothing else."""

import asyncio

import pytest

from gateway.contacts.parse import parse_email
from gateway.entry.event import Event, EventKind
from gateway.failure import RegisterUnavailable
from gateway.register.register import Register
from tests.peers.certificates import self_signed
from tests.peers.topology import PROGRAM, Servers, free_ports

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="redis-server is needed")
BAN = Event(kind=EventKind.BAN, at=7, actor="test")


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path, "localhost")


@pytest.fixture
def servers(certificate):
    with Servers(certificate) as servers:
        yield servers


async def exercise(register, count=2000):
    """Changes and look-ups in both directions larger than one TLS record (16 KiB)."""
    people = [parse_email(f"p{number}+x@example.com") for number in range(count)]
    await register.apply_many([(BAN, who) for who in people])
    looks = [register.look_up(people[start::4]) for start in range(4)]
    for standings in await asyncio.gather(*looks):
        assert all(one.exact.bans[0].at == 7 for one in standings)
    (logged,) = await register.history(people[0])
    assert logged.kind is EventKind.BAN


async def test_one_server(servers, certificate, ring):
    [port] = free_ports(1)
    await servers.start(port, "tls-auth-clients no")
    url = f"rediss://localhost:{port}?ssl_ca_certs={certificate.certificate}"
    async with await Register.open(url, ring, timeout=10) as register:
        await exercise(register)


async def test_a_server_that_asks_for_a_certificate(servers, certificate, ring):
    [port] = free_ports(1)
    await servers.start(port)
    url = f"rediss://localhost:{port}?ssl_ca_certs={certificate.certificate}"
    with pytest.raises(RegisterUnavailable):
        await Register.open(url, ring)
    url += f"&ssl_certfile={certificate.certificate}&ssl_keyfile={certificate.key}"
    async with await Register.open(url, ring, timeout=10) as register:
        await exercise(register, 50)


async def test_a_server_that_cannot_be_trusted_is_told_nothing(
    servers, certificate, ring, tmp_path
):
    [port] = free_ports(1)
    await servers.start(port, "tls-auth-clients no")
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other", "localhost")
    for url in (
        f"rediss://localhost:{port}?ssl_ca_certs={other.certificate}",
        f"rediss://127.0.0.2:{port}?ssl_ca_certs={certificate.certificate}",
        f"rediss://localhost:{port}",
        f"redis://localhost:{port}",
    ):
        with pytest.raises(RegisterUnavailable):
            await Register.open(url, ring)


async def test_what_is_cut_off_answers_again(servers, certificate, ring):
    [port] = free_ports(1)
    await servers.start(port, "tls-auth-clients no", "appendonly yes", "appendfsync always")
    url = f"rediss://localhost:{port}?ssl_ca_certs={certificate.certificate}"
    async with await Register.open(url, ring, timeout=10) as register:
        who = parse_email("p0@example.com")
        await register.apply(BAN, who)
        servers.kill(port)
        with pytest.raises(RegisterUnavailable):
            await register.look_up([who])
        await servers.start_again(port)
        (standing,) = await register.look_up([who])
        assert standing.exact.bans


@pytest.fixture
def options(certificate):
    pem, key = certificate.certificate, certificate.key
    return f"ssl=true&ssl_ca_certs={pem}&ssl_certfile={pem}&ssl_keyfile={key}"


@pytest.mark.slow
async def test_a_cluster(servers, options, ring):
    ports = await servers.cluster(masters=3, replicas=0)
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    async with await Register.open(f"cluster://{hosts}?{options}", ring, timeout=10) as register:
        await exercise(register)


@pytest.mark.slow
async def test_sentinels_are_asked_over_tls_too(servers, options, ring):
    master, _, [watching] = await servers.sentinel(1)
    url = f"sentinel://127.0.0.1:{watching}/sg?{options}"
    async with await Register.open(url, ring, timeout=10) as register:
        await exercise(register)
    # Unless they speak without.
    secure, plain = free_ports(2)
    await servers.start(secure, f"port {plain}", f"sentinel monitor sg 127.0.0.1 {master} 1")
    url = f"sentinel://127.0.0.1:{plain}/sg?{options}"
    with pytest.raises(RegisterUnavailable):
        await Register.open(url, ring)
    async with await Register.open(f"{url}&ssl_sentinels=false", ring, timeout=10) as register:
        (standing,) = await register.look_up([parse_email("p0+x@example.com")])
        assert standing.exact.bans
