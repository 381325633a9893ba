"""RouteExtensions by real requests: what HTTPRoute has no field for; and that an extension that is not there leaves nothing open."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from tests.drivers.xds.gatewaylab import GatewayLab

pytestmark = pytest.mark.asyncio(loop_scope="module")


def extension(spec: str, name: str = "more") -> str:
    return f"kind: RouteExtension\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def route(host: str, *filters: str, name: str = "more", to: str = "one", match: str = "{value: /}") -> str:
    ref = f"{{type: ExtensionRef, extensionRef: {{group: fairlead.dev, kind: RouteExtension, name: {name}}}}}"
    rule = f"matches: [{{path: {match}}}], filters: [{', '.join((ref, *filters))}], backendRefs: [{{name: {to}, port: 80}}]"
    return f"kind: HTTPRoute\nmetadata: {{name: {host}}}\nspec: {{parentRefs: [{{name: web}}], hostnames: [{host}.test], rules: [{{{rule}}}]}}\n"


REWRITES = {
    "groups": (r"{pattern: '^/v(\d)/(.*)', substitution: '/\2/v\1'}", "/v1/x?a=b", "/x/v1?a=b"),
    "what does not match stays": ("{pattern: '^/v/', substitution: '/'}", "/x/v/", "/x/v/"),
    "a part of it": ("{pattern: 'a+', substitution: 'b'}", "/aa/a", "/b/b"),
}


@pytest.mark.parametrize("case", REWRITES, ids=str)
async def test_paths_by_patterns(lab: GatewayLab, case: str) -> None:
    rewrite, path, wanted = REWRITES[case]
    await lab.apply(extension(f"{{rewritePath: {rewrite}}}") + "---\n" + route("rewrite"))
    assert (await lab.ask(f"http://rewrite.test{path}")).json["path"] == wanted


async def test_a_changed_extension_changes_its_routes_alone(lab: GatewayLab) -> None:
    await lab.apply(
        "---\n".join(
            (
                extension("{rewritePath: {pattern: '^.*', substitution: /first}}"),
                extension("{rewritePath: {pattern: '^.*', substitution: /other}}", "other"),
                route("changed"),
                route("unchanged", name="other"),
            )
        )
    )
    assert (await lab.ask("http://changed.test/")).json["path"] == "/first"
    await lab.apply(extension("{rewritePath: {pattern: '^.*', substitution: /second}}"))
    changed = lab.compiler.compile(lab.snapshot).plan.table("gateway_hosts")
    assert (await lab.ask("http://changed.test/")).json["path"] == "/second"
    assert (await lab.ask("http://unchanged.test/")).json["path"] == "/other"
    await lab.delete("RouteExtension", "more")
    after = lab.compiler.compile(lab.snapshot).plan.table("gateway_hosts")
    assert {key[1] for key in after if after[key] is not changed[key] and after[key] != changed[key]} == {
        "changed.test", "rewrite.test",
    }  # fmt: skip
    assert (await lab.ask("http://changed.test/")).status == 500


WRONG = {
    "no such extension": ("", "there is no RouteExtension default/more", 500),
    "a group that is not there": (r"{rewritePath: {pattern: '(a)', substitution: '/\2'}}", "has 1 groups", 404),
    "no pattern": ("{rewritePath: {pattern: '(', substitution: /}}", "no pattern of RE2", 404),
    "no substitution": (r"{rewritePath: {pattern: a, substitution: '\x'}}", "is no part of a path", 404),
    "no duration": ("{idleTimeout: soon}", "no duration", 404),
    "no status": ("{retry: {codes: [99]}}", "99 is not between 400 and 599", 404),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
async def test_what_cannot_be_honored_leaves_nothing_open(lab: GatewayLab, case: str) -> None:
    spec, words, status = WRONG[case]
    await lab.delete("RouteExtension", "more")
    await lab.apply((extension(spec) + "---\n" if spec else "") + route("wrong"))
    assert (await lab.ask("http://wrong.test/")).status == status
    (complaint,) = lab.complaints("HTTPRoute/default/wrong")
    assert words in complaint


async def test_a_path_is_rewritten_by_one_filter_alone(lab: GatewayLab) -> None:
    other = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}"
    await lab.apply(extension("{rewritePath: {pattern: a, substitution: b}}") + "---\n" + route("twice", other))
    assert (await lab.ask("http://twice.test/")).status == 404
    host = "{type: URLRewrite, urlRewrite: {hostname: inner.example}}"
    await lab.apply(route("twice", host))
    seen = (await lab.ask("http://twice.test/a")).json
    assert (seen["path"], seen["headers"]["host"]) == ("/b", "inner.example")


async def test_idle_timeouts_and_retries(lab: GatewayLab) -> None:
    slow = await lab.backend("idle")
    slow.delay_s = 3
    await lab.apply(extension("{idleTimeout: 300ms}") + "---\n" + route("idle", to="idle"))
    began = asyncio.get_running_loop().time()
    assert (await lab.ask("http://idle.test/")).status == 504
    assert asyncio.get_running_loop().time() - began < 2
    failing = await lab.backend("fails")
    failing.respond = lambda _: web.Response(status=503)
    found = {}
    for only in ("true", "false"):
        spec = f"{{retry: {{attempts: 2, codes: [503], idempotentOnly: {only}}}}}"
        await lab.apply(extension(spec) + "---\n" + route("fails", to="fails"))
        for method in ("GET", "POST"):
            failing.seen.clear()
            await lab.ask("http://fails.test/", method)
            found[only, method] = len(failing.seen)
    assert found == {("true", "GET"): 3, ("true", "POST"): 1, ("false", "GET"): 3, ("false", "POST"): 3}
