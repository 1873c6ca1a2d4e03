"""Hosts, origins and proxies: the rules, and the middleware around the whole application."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from matte_frontend.app import create_app
from matte_frontend.hosts import AllowedHosts, ForwardedRequest, Networks, parse_forwarding
from matte_frontend.origins import Access, AllowedOrigins, RequestOrigin, canonical_origin, origin_problem
from matte_frontend.settings import FrontendSettings
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

APP = "https://app.example.org"


class TestHosts:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1:7860", "[::1]:7860", "10.1.2.3", "localhost", "a.localhost:80", "LOCALHOST"]
    )
    def test_addresses_and_localhost_always(self, host: str) -> None:
        assert AllowedHosts.from_settings(()).allows(host)

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "laptop"])
    def test_other_names_never(self, host: str) -> None:
        assert not AllowedHosts.from_settings(()).allows(host)

    def test_configured_names(self) -> None:
        allowed = AllowedHosts.from_settings(("Matte.example.org", "*.example.com"), machine="Laptop.home.arpa")
        for host in ("matte.example.org:443", "matte.example.org.", "a.example.com", "a.b.example.com",
                     "laptop.home.arpa", "laptop", "laptop.local"):  # fmt: skip
            assert allowed.allows(host), host
        for host in ("example.com", "x.matte.example.org", "evilexample.com"):
            assert not allowed.allows(host), host
        assert AllowedHosts.from_settings(("*",)).allows("evil.example")


class TestOrigins:
    NAMED = AllowedOrigins(frozenset({APP, "https://*.example.com"}), loopback=False)

    @pytest.mark.parametrize(
        ("origin", "host", "found"),
        [
            ("http://matte.test", "matte.test", Access.SAME),
            ("https://matte.test", "matte.test:443", Access.SAME),
            ("https://matte.test", "matte.test", Access.SAME),
            ("http://matte.test:8080", "matte.test", Access.FOREIGN),
            (APP, "matte.test", Access.ALLOWED),
            ("http://app.example.org", "matte.test", Access.FOREIGN),
            ("https://a.example.com", "matte.test", Access.ALLOWED),
            ("https://example.com", "matte.test", Access.FOREIGN),
            ("https://app.example.org.evil.example", "matte.test", Access.FOREIGN),
            ("null", "matte.test", Access.FOREIGN),
            ("null", "", Access.FOREIGN),
            ("http://localhost:3000", "matte.test", Access.FOREIGN),
        ],
    )
    def test_named(self, origin: str, host: str, found: Access) -> None:
        assert self.NAMED.access_of(origin, host) is found

    def test_loopback(self) -> None:
        allowed = AllowedOrigins(frozenset(), loopback=True)
        for origin in ("http://localhost:3000", "http://127.0.0.1:1", "https://[::1]:5173"):
            assert allowed.access_of(origin, "127.0.0.1:7860") is Access.ALLOWED
        for origin in ("http://evil.example", "http://localhost.evil.example", "null", "file://", "http://10.0.0.1"):
            assert allowed.access_of(origin, "127.0.0.1:7860") is Access.FOREIGN

    def test_any(self) -> None:
        allowed = AllowedOrigins(frozenset({"*", APP}), loopback=False)
        assert allowed.access_of("http://x.example", "m") is Access.ANONYMOUS
        assert allowed.access_of(APP, "m") is Access.ALLOWED

    def test_settings_are_canonical_origin(self) -> None:
        assert canonical_origin("HTTPS://App.example.org:443/") == APP
        for wrong in ("app.example.org", "https://app.example.org/path", "ftp://x", "https://"):
            with pytest.raises(ValidationError):
                FrontendSettings(allowed_origins=wrong)

    @pytest.mark.parametrize(
        ("page", "code"),
        [
            (RequestOrigin("POST", "m"), None),
            (RequestOrigin("POST", "m", fetch_site="same-origin"), None),
            (RequestOrigin("POST", "m", fetch_site="none"), None),
            (RequestOrigin("POST", "m", fetch_site="cross-site"), "origin_not_allowed"),
            (RequestOrigin("POST", "m", fetch_site="same-site"), "origin_not_allowed"),
            (RequestOrigin("DELETE", "m", "http://evil.example"), "origin_not_allowed"),
            (RequestOrigin("POST", "m", "null", "cross-site"), "origin_not_allowed"),
            (RequestOrigin("POST", "m", APP, "cross-site"), None),
            (RequestOrigin("POST", "inner", "https://outer.example", "same-origin"), None),
            (RequestOrigin("GET", "m", "http://evil.example", "cross-site"), None),
            (RequestOrigin("OPTIONS", "m", "http://evil.example", preflight_method="POST"), "origin_not_allowed"),
            (RequestOrigin("OPTIONS", "m", APP, preflight_method="POST"), None),
        ],
    )
    def test_what_is_refused(self, page: RequestOrigin, code: str | None) -> None:
        problem = origin_problem(page, self.NAMED.access(page))
        assert (problem and problem.code) == code
        if problem is not None:
            assert "MATTE_ALLOWED_ORIGINS" in problem.detail

    def test_any_origin_is_without_credentials(self) -> None:
        allowed = AllowedOrigins(frozenset({"*"}), loopback=False)
        for credentials, refused in ((False, False), (True, True)):
            page = RequestOrigin("POST", "m", "http://x.example", credentials=credentials)
            assert (origin_problem(page, allowed.access(page)) is not None) is refused


class TestProxies:
    TRUSTED = Networks(["10.0.0.0/8"])

    @pytest.mark.parametrize(
        ("headers", "forwarded"),
        [
            ({"x-forwarded-for": "192.0.2.1"}, ForwardedRequest(client="192.0.2.1")),
            ({"x-forwarded-for": "6.6.6.6, 192.0.2.1, 10.0.0.2"}, ForwardedRequest(client="192.0.2.1")),
            ({"x-forwarded-for": "10.0.0.9, 10.0.0.2"}, ForwardedRequest(client="10.0.0.9")),
            ({"x-forwarded-for": "unknown, 10.0.0.2"}, ForwardedRequest(client="10.0.0.2")),
            ({"x-forwarded-for": "[2001:db8::1]:99, 192.0.2.1:1234"}, ForwardedRequest(client="192.0.2.1")),
            (
                {"x-forwarded-proto": "https", "x-forwarded-host": "matte.test:8443", "x-forwarded-prefix": "/cut/"},
                ForwardedRequest(scheme="https", host="matte.test:8443", root_path="/cut"),
            ),
            (
                {"x-forwarded-proto": "javascript", "x-forwarded-host": "a b", "x-forwarded-prefix": "//x"},
                ForwardedRequest(),
            ),
            (
                {"forwarded": 'for="[2001:db8::1]:99";proto=https;host=matte.test, for=10.0.0.2'},
                ForwardedRequest(client="2001:db8::1", scheme="https", host="matte.test"),
            ),
            ({"forwarded": "host=evil.example", "x-forwarded-for": "192.0.2.1"}, ForwardedRequest(client="192.0.2.1")),
        ],
    )  # fmt: skip
    def test_forwarding_headers(self, headers: dict[str, str], forwarded: ForwardedRequest) -> None:
        assert (
            parse_forwarding([(name.encode(), value.encode()) for name, value in headers.items()], self.TRUSTED)
            == forwarded
        )


def app(**settings: Any) -> Starlette:
    """The whole application, with an address that shows what a request looks like behind the middleware."""

    async def mirror(request: Request) -> JSONResponse:
        headers = dict(request.headers)
        return JSONResponse({"url": str(request.url), "client": request.client and request.client.host, **headers})

    async def create() -> Starlette:  # Gradio makes an event loop where none runs
        return create_app(FrontendSettings(redis_url="redis://127.0.0.1:1/0", **settings))

    made = asyncio.run(create())
    made.router.routes.insert(0, Route("/mirror", mirror, methods=["GET", "POST"]))
    return made


def ask(
    application: Starlette, method: str, path: str, headers: Mapping[str, str] | None = None, *, peer: str = "192.0.2.9"
) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(application, client=(peer, 1), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def local() -> Starlette:
    return app()


@pytest.fixture(scope="module")
def public() -> Starlette:
    return app(
        host="0.0.0.0",
        allowed_hosts="matte.test",
        allowed_origins=f"{APP}, *",
        trusted_proxies="10.0.0.0/8",
    )


class TestMiddleware:
    def test_rebinding(self, local: Starlette) -> None:
        answer = ask(local, "GET", "/admin/dead", {"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
        assert "MATTE_ALLOWED_HOSTS" in answer.json()["detail"]
        assert ask(local, "GET", "/healthz", {"Host": "10-0-0-1.node.example"}).status_code == 200

    def test_nobody_s_proxy_headers(self, local: Starlette) -> None:
        forwarded = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6",
                "Forwarded": "host=evil.example", "X-Gradio-Server": "http://evil.example", "X-Real-IP": "6.6.6.6",
                "X-Forwarded-User": "root"}  # fmt: skip
        seen = ask(local, "GET", "/mirror", forwarded, peer="127.0.0.1")
        assert "evil" not in seen.text
        assert "6.6.6.6" not in seen.text
        assert seen.json()["url"] == "http://127.0.0.1:7860/mirror"
        assert not [name for name in seen.json() if "forwarded" in name]
        assert "evil" not in ask(local, "GET", "/config", forwarded).text

    def test_a_trusted_proxy(self, public: Starlette) -> None:
        forwarded = {"Host": "10.2.3.4", "X-Forwarded-Host": "matte.test", "X-Forwarded-Proto": "https",
                "X-Forwarded-For": "192.0.2.1", "X-Forwarded-User": "ada"}  # fmt: skip
        seen = ask(public, "GET", "/mirror", forwarded, peer="10.0.0.5").json()
        assert (seen["url"], seen["client"]) == ("https://matte.test/mirror", "192.0.2.1")
        assert seen["x-forwarded-user"] == "ada", "who it is stays for those who map identities"
        answer = ask(public, "GET", "/mirror", forwarded | {"X-Forwarded-Host": "evil.example"}, peer="10.0.0.5")
        assert answer.status_code == 421
        answer = ask(public, "GET", "/mirror", forwarded | {"Host": "evil.example"}, peer="10.0.0.5")
        assert answer.status_code == 421, "what the proxy was called counts, too"
        prefixed = ask(public, "GET", "/nowhere", forwarded | {"X-Forwarded-Prefix": "/cut"}, peer="10.0.0.5").json()
        assert prefixed["instance"] == "/cut/nowhere"
        assert (
            ask(public, "GET", "/healthz", forwarded | {"X-Forwarded-Prefix": "/cut"}, peer="10.0.0.5").status_code
            == 200
        )

    @pytest.mark.parametrize("path", ["/config", "/gradio_api/info", "/models", "/nowhere", "/", "/static/page.css"])
    def test_cors_is_the_same_on_every_route(self, local: Starlette, path: str) -> None:
        for origin, allowed in (("http://localhost:3000", True), ("http://127.0.0.1:5173", True),
                                ("http://evil.example", False)):  # fmt: skip
            answer = ask(local, "GET", path, {"Origin": origin})
            named = answer.headers.get_list("access-control-allow-origin")
            assert named == ([origin] if allowed else []), (path, answer.status_code)
            assert answer.headers.get_list("access-control-allow-credentials") == (["true"] if allowed else [])
            assert ("X-Model-Version" in answer.headers.get("access-control-expose-headers", "")) is allowed
            assert "Origin" in answer.headers["vary"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"

    @pytest.mark.parametrize("path", ["/v1/predict", "/gradio_api/upload", "/config", "/v1/jobs/x", "/nowhere"])
    def test_preflight(self, local: Starlette, path: str) -> None:
        asking = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
                  "Access-Control-Request-Headers": "content-type,idempotency-key"}  # fmt: skip
        answer = ask(local, "OPTIONS", path, asking)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert {"POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
        assert answer.headers["access-control-allow-headers"] == "content-type,idempotency-key"
        assert int(answer.headers["access-control-max-age"]) > 0
        refused = ask(local, "OPTIONS", path, asking | {"Origin": "http://evil.example"})
        assert (refused.status_code, refused.json()["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in refused.headers

    def test_foreign_pages_change_nothing(self, local: Starlette) -> None:
        text = {"Content-Type": "text/plain"}
        for path in ("/gradio_api/cancel", "/gradio_api/queue/join", "/v1/jobs", "/mirror"):
            for page in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
                answer = ask(local, "POST", path, text | page)
                assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed"), (path, page)
        assert ask(local, "POST", "/mirror", {"Origin": "http://127.0.0.1:7860"}).status_code == 200
        assert ask(local, "POST", "/mirror").status_code == 200, "curl, SDKs"

    def test_pictures_are_for_us_alone_where_nobody_else_is_allowed(self) -> None:
        answer = ask(app(host="0.0.0.0"), "GET", "/models", {"Origin": "http://localhost:3000"})
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers

    def test_any_origin(self, public: Starlette) -> None:
        answer = ask(public, "GET", "/models", {"Origin": "http://x.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        answer = ask(public, "GET", "/models", {"Origin": APP})
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-allow-credentials"] == "true"
