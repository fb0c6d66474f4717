"""Where outgoing requests may not go: a row per form in which somebody may write an address that is not theirs."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError
from aiohttp.abc import AbstractResolver, ResolveResult

from receiver.addresses import ForbiddenAddress, Reach, reach_of, vet, vet_file_url
from receiver.ledger.records import Trust
from receiver.providers.base import Account, Request, UpstreamBusy
from reconciler.transport import Downloads, Transport, opened

AT_HOME = "https://api.example.com"

# (form, address): what a name may resolve to, and a URL may name.
ADDRESSES = {
    "loopback": "127.0.0.1", "loopback, elsewhere in its network": "127.8.9.10", "loopback in IPv6": "::1",
    "private 10": "10.0.0.7", "private 172": "172.16.0.1", "private 192": "192.168.1.1", "unique local": "fd00::1",
    "link-local": "169.254.1.1", "link-local in IPv6": "fe80::1", "link-local with a zone": "fe80::1%eth0",
    "metadata": "169.254.169.254", "metadata in IPv6": "fd00:ec2::254", "metadata of Alibaba": "100.100.100.200",
    "metadata of Azure's wire server": "168.63.129.16", "carrier's NAT": "100.64.0.1",
    "multicast": "224.0.0.1", "multicast in IPv6": "ff02::1", "broadcast": "255.255.255.255", "reserved": "240.0.0.1",
    "unspecified": "0.0.0.0", "this network": "0.1.2.3", "unspecified in IPv6": "::",
    "documentation": "203.0.113.1", "documentation in IPv6": "2001:db8::1", "newer documentation": "3fff::1",
    "benchmarks": "198.18.0.1", "protocol assignments": "192.0.0.1", "old 6to4 relays": "192.88.99.1",
    "mapped": "::ffff:10.0.0.7", "mapped, in hex": "::ffff:7f00:1", "compatible": "::127.0.0.1",
    "NAT64": "64:ff9b::7f00:1", "NAT64, local": "64:ff9b:1::7f00:1", "6to4": "2002:7f00:1::", "discard": "100::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2", "site-local": "fec0::1", "segment routing": "5f00::1",
}  # fmt: skip

URLS = {
    "decimal": "https://2130706433/", "hex": "https://0x7f000001/", "hex in parts": "https://0x7f.1/",
    "octal": "https://0177.0.0.1/", "octal in one": "https://017700000001/", "short": "https://127.1/",
    "shorter": "https://127.0.1/", "zero": "https://0/", "too large": "https://127.0.0.256/",
    "leading zeros": "https://127.000.000.001/", "trailing dot": "https://127.0.0.1./",
    "name with a trailing dot": "https://localhost./", "name of this machine": "https://localhost/",
    "name below it": "https://x.localhost/", "metadata by name": "https://metadata.google.internal/",
    "metadata by name with a dot": "https://metadata.google.internal./",
    "user": "https://example.com@127.0.0.1/", "user and password": "https://a:b@example.com/",
    "an empty user": "https://@example.com/", "backslash": "https://example.com\\@127.0.0.1/",
    "escaped host": "https://127%2e0%2e0%2e1/", "escaped zone": "https://[fe80::1%25eth0]/",
    "full-width digits": "https://\uff11\uff12\uff17.0.0.1/", "full-width dots": "https://127\u30020\uff0e0\uff611/",
    "circled digits": "https://\u2460\u2461\u2466.0.0.1/", "space": "https://example .com/", "tab": "https://exa\tmple.com/",
    "line end": "https://example.com/\r\nx: y", "no host": "https:///x", "no scheme": "//example.com/x",
    "a port that is none": "https://example.com:99999/", "port zero": "https://example.com:0/",
    "half an IPv6 address": "https://[::1/", "no TLS": "http://example.com/x", "a file": "file:///etc/passwd",
    "gopher": "gopher://example.com/", "ftp": "ftp://example.com/x", "script": "javascript:alert(1)", "data": "data:,x",
    "unix socket": "unix:///var/run/docker.sock", "nothing": "", "a query for a host": "https://?@127.0.0.1/",
}  # fmt: skip
URLS |= {
    form: f"https://[{address}]/" if ":" in address else f"https://{address}/" for form, address in ADDRESSES.items()
}


@dataclass
class Names(AbstractResolver):
    """Names as a name server would give them: each look-up of a name takes its next answer, the last one stays."""

    known: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.known[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            {
                "hostname": host, "host": one, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST,
                "family": socket.AF_INET6 if ":" in one else socket.AF_INET,
            }
            for one in found
        ]  # fmt: skip

    async def close(self) -> None:
        pass


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on this machine that should never be reached: its port, and what was said to it."""
    heard: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(2000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def downloads(base_url: str = AT_HOME, **more: object) -> Downloads:
    return Downloads(Account("s", base_url, Trust.NONE), **more)  # type: ignore[arg-type]


async def fetched(files: Downloads, url: str) -> bytes:
    async with files.get(url, {}, within=timedelta(seconds=3)) as stream:
        return b"".join([chunk async for chunk in stream.chunks])


def transport(base_url: str, **more: object) -> Transport:
    account = Account("s", base_url, Trust.NONE)
    return Transport(account, clock=lambda: datetime.now(UTC), item=timedelta(seconds=3), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", URLS)
async def test_no_file_is_fetched_from_such_a_url(form: str) -> None:
    async with downloads() as files:
        with pytest.raises(ForbiddenAddress) as caught:
            await fetched(files, URLS[form])
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("form", ADDRESSES)
async def test_no_upstream_and_no_file_is_where_a_name_leads_to_such_an_address(form: str) -> None:
    names = Names({"api.example.com": [["93.184.215.14", ADDRESSES[form]]]})  # one bad one among good ones will do
    async with downloads(resolver=names) as files:
        with pytest.raises(ForbiddenAddress, match="allow_private"):
            await fetched(files, "https://api.example.com/x")
    async with transport(AT_HOME, resolver=names) as client:
        with pytest.raises(UpstreamBusy, match="not on the public internet"):
            await client.send(Request("GET", f"{AT_HOME}/x"))


@pytest.mark.parametrize("form", ADDRESSES)
async def test_no_base_url_is_such_an_address(form: str) -> None:
    address = ADDRESSES[form]
    if reach_of(address, allow_private=False) == "loopback":
        return  # a base_url that says so itself is a sandbox
    base = f"https://[{address}]" if ":" in address else f"https://{address}"
    async with transport(base) as client:
        with pytest.raises(UpstreamBusy, match=r"not on the public internet|neither a name"):
            await client.send(Request("GET", f"{base}/x"))


@pytest.mark.parametrize("base", ["https://2130706433", "https://0x7f.1", "https://0177.0.0.1", "https://127.1"])
async def test_no_base_url_is_an_address_in_a_spelling_that_hides_it(base: str) -> None:
    for allow_private in (False, True):
        async with transport(base, allow_private=allow_private) as client:
            with pytest.raises(UpstreamBusy, match="ambiguous spelling"):
                await client.send(Request("GET", f"{base}/x"))


@pytest.mark.parametrize("form", ADDRESSES)
def test_a_source_that_allows_private_addresses_may_use_them(form: str) -> None:
    vet("api.example.com", ADDRESSES[form], "private")


@pytest.mark.parametrize("url", [
    "https://93.184.215.14/x", "https://[2606:4700::6810:84e5]/x", "https://cdn.example.com:8443/x?sig=a%2Fb#c",
    "https://xn--bcher-kva.example/x", "https://9gag.example.com/1", "https://a_b.r2.example.com./x", "https://x/~$(')*!",
])  # fmt: skip
@pytest.mark.parametrize("reach", ["public", "sandbox", "private"])
def test_files_on_the_internet_may_be_fetched(url: str, reach: Reach) -> None:
    assert vet_file_url(url, reach).scheme == "https"


async def test_a_name_that_changes_its_answer_between_look_ups_leads_nowhere_else() -> None:
    """The address that was vetted is the one connected to: a second answer is never asked for, or is vetted too."""
    async with listening() as (port, heard):
        names = Names({"rebind.example": [["192.0.2.1"], ["127.0.0.1"]]})  # neither is public; the first is refused
        async with downloads(resolver=names) as files:
            for _ in range(2):
                with pytest.raises(ForbiddenAddress):
                    await fetched(files, f"https://rebind.example:{port}/x")
        # Seen as permitted at first, as this machine's own address is for a sandbox; later as something else.
        names = Names({"rebind.example": [["127.0.0.1"], ["10.0.0.7"]]})
        account = Account("s", "http://localhost:1", Trust.NONE)
        async with Downloads(account, resolver=names) as files:
            with pytest.raises(ForbiddenAddress):  # its name does not say that it is this machine: https alone
                await fetched(files, f"http://rebind.example:{port}/x")
        assert heard == []
    assert names.asked == []


async def test_one_look_up_is_what_is_vetted_and_what_is_connected_to() -> None:
    async with listening() as (port, heard):
        names = Names({"here.localhost": [["127.0.0.1"], ["10.0.0.7"]]})
        async with downloads("http://localhost:1", resolver=names) as files:
            assert await fetched(files, f"http://here.localhost:{port}/x") == b"hi"
            assert names.asked == ["here.localhost"]
            assert await fetched(files, f"http://here.localhost:{port}/x") == b"hi"  # from what was vetted a moment ago
        async with downloads("http://localhost:1", resolver=names) as files:
            with pytest.raises(ForbiddenAddress):
                await fetched(files, f"http://here.localhost:{port}/x")
    assert len(heard) == 2


async def test_the_last_gate_stands_at_the_socket() -> None:
    """Whatever reads a URL in another way than we do: the address about to be connected to is what counts."""
    async with listening() as (port, heard), opened("public", 1, None) as session:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(ClientConnectorError) as caught:
                await session.get(f"http://{host}:{port}/x")
            assert isinstance(caught.value.os_error, ForbiddenAddress)
    assert heard == []


async def test_neither_proxies_nor_passwords_are_taken_from_the_environment(tmp_path: Path) -> None:
    async with listening() as (port, heard), listening() as (proxy, heard_by_proxy):
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
        script = f"""
import asyncio
from tests.reconciler.test_ssrf import downloads, fetched
async def main():
    async with downloads("http://127.0.0.1:{port}") as files:
        print(await fetched(files, "http://127.0.0.1:{port}/x"))
asyncio.run(main())
"""
        there = f"http://127.0.0.1:{proxy}"
        env = {**os.environ, "HTTP_PROXY": there, "http_proxy": there, "ALL_PROXY": there, "NETRC": str(netrc)}
        env.pop("no_proxy", None)
        env.pop("NO_PROXY", None)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, env=env, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert (process.returncode, out.strip()) == (0, b"b'hi'")
    assert (len(heard), heard_by_proxy) == (1, [])
    assert b"uthorization" not in heard[0]
