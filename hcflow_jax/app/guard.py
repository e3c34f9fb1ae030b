"""Who may ask: hosts, origins and the token; and what browsers may do with the answers."""

import ipaddress
import re
import secrets
from collections.abc import Sequence
from http import cookies
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

LOOPBACK = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer; one that has such a header keeps its own."""


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


class Guard:
    """ASGI middleware that refuses strangers.

    Without a token only requests to a name of this machine's own are answered: a page elsewhere
    whose name comes to resolve to 127.0.0.1 (DNS rebinding) sends its own name as Host. With one,
    requests need it: once as ?token=…, which a cookie then stands for. In either case what comes
    from another page, by its Origin, is refused.

    Args:
      token: None where the app listens to this machine alone.
      port: names the cookie; browsers send cookies to all ports.
      hosts: names and addresses of the app beside those of LOOPBACK.
    """

    def __init__(self, app, token: str | None, port: int, hosts: Sequence[str] = ()):
        self._app, self._token, self._cookie = app, token, f"hcflow_{port}"
        self._hosts = {_named(host) for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refusal(scope) or self._app)(scope, receive, guarded)

    def _refusal(self, scope):
        """The answer to a stranger, or None."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._token is None and _hostname(host) not in self._hosts:
            line = "this is no name of the app; open the address that hcflow app printed\n"
            return PlainTextResponse(line, 403)
        if origin is not None and origin.partition("://")[2] != host:
            return PlainTextResponse("asked by another page\n", 403)
        if self._token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._is_token(given):
            answer = RedirectResponse("/", 303)
            # "strict" would keep it from a page that is opened by a link in another one
            answer.set_cookie(self._cookie, given, httponly=True, samesite="lax")
            return answer
        if self._is_token(self._sent(headers)):
            return None
        return PlainTextResponse("open the address with ?token=… that hcflow app printed\n", 401)

    def _sent(self, headers):
        found = cookies.SimpleCookie()
        try:
            found.load(headers.get("cookie", ""))
        except cookies.CookieError:
            return ""
        return found[self._cookie].value if self._cookie in found else ""

    def _is_token(self, text):
        return secrets.compare_digest(text.encode(), self._token.encode())


def _hostname(host):
    """The name in a Host header, without port and brackets; None where it is none."""
    found = _HOST.fullmatch(host)
    return found and _named(found[1] or found[2])


def _named(host):
    """A name, or an address, as one spelling of it."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()
