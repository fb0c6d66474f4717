"""A browser as far as the server sees it: cookies, and what browsers say of where a request comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

from receiver.ledger.database import Database
from tests.web.asking import make_token
from tests.web.client import Answer, ask
from tests.web.conftest import Running


@dataclass
class Browser:
    """Keeps cookies. `headers` are sent with every request."""

    running: Running
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"accept": "text/html"})
    set_cookie: str = ""

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        given = {**self.headers, **headers}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await ask(method, self.running.url + path, body, **given)
        self.set_cookie = answer.headers.get("set-cookie", "")
        if self.set_cookie:
            name, _, value = self.set_cookie.partition(";")[0].partition("=")
            if "max-age=0" in self.set_cookie.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def see(self, path: str) -> str:
        """A page that must be there, as text."""
        answer = await self.get(path)
        assert answer.status == 200, (path, answer.status, answer.headers, answer.body[:300])
        return answer.body.decode()

    async def send(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """A form, as a browser sends it from a page of ours."""
        given = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin", **headers}
        return await self.ask("POST", path, urlencode(fields).encode(), **given)

    async def press(self, path: str, **fields: str) -> Answer:
        """A button: a form with the pledge that the pages carry."""
        return await self.send(path, {"pledge": await self.pledge(), **fields})

    async def pledge(self) -> str:
        found = re.search(r'name="pledge" value="([0-9a-f]+)"', await self.see("/passes"))
        assert found
        return unescape(found[1])


async def logged_in(running: Running, database: Database, scope: str = "read", name: str | None = None) -> Browser:
    """A browser that has logged in with a new token of this scope."""
    token = await make_token(database, scope, name)
    browser = Browser(running)
    answer = await browser.send("/login", {"token": token})
    assert answer.status == 303, answer.body
    return browser
