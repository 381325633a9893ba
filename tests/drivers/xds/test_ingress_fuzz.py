"""Whatever annotations say: nothing is raised, the proxy takes what comes of them, and a healthy Ingress beside them serves. Real Envoy."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.ingresslab import asked, ingress, klass, opened, text

from fairlead.api.ingress import Ingress
from fairlead.model.gateway.annotations import DIALECTS, PREFIXES
from fairlead.model.gateway.conversion import Options, convert
from fairlead.model.gateway.ingress import gateway_of
from fairlead.world.fold import fold

in_one_loop = pytest.mark.asyncio(loop_scope="module")
TEXTS = (
    *("", "true", "false", "0", "1", "5", "99999999999", "-1", "1.5", "5s", "1m", "8m", "8x", "100%", "é", "\n", "\0"),
    *("/", "/a", "/$1", "/$2/$3", "/a b", "//", "/%2e", "/a?b", "/\\1", "a (b) /\\1", "/(.*) /\\2", "x", "x" * 600, "x" * 20_000),
    *("%REQ(:path)%", "$host", "$http_x_a", "$arg_a", "$cookie_a", "${request_uri}", "$request_uri", "a\r\nb: c"),
    *("svc://one:80/a?b", "svc://default/one:80", "http://one.default.svc/a?b=c", "http://one.default.svc$request_uri", "v2", "proxy-v1", "Path", "PathRegexp", "exact", "regex"),
    *("https://a.example", "https://a.example:99999/", "http://a.b.svc", "http://one.default.svc:80", "ftp://a", "https://*.a.example"),
    *("a.example", "*.a.example", "A..b", "GET, PUT", "*", "x-a, x-b", "host", ":path", "(", "(a)|b", "[a-", "a{2000}", "(?i)a"),
    *("10.0.0.0/8", "10.0.0.1/8, ::1", "all", "cookie", "basic", "digest", "name", "team/name", "GRPC", "HTTPS", "round_robin"),
    *("error timeout http_503", "off", "web", "websecure,web", "leastconn", "hdr(x)", "hdr()", "X-A b", 'X-A "b"\nX-B c', "h2"),
)  # fmt: skip


NAMES = sorted(prefix + name for prefix, each in PREFIXES.items() for name in each.table)


PATHS = ("/", "/a", "/a(/|$)(.*)", "/[", "/a//b", "/a%2f", "/é", "/" + "a" * 1000)
CASE = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(TEXTS) | st.text(max_size=20), max_size=6),
    st.sampled_from(PATHS),
    st.sampled_from(("Prefix", "Exact", "ImplementationSpecific")),
    st.sampled_from(("", "fuzz.test", "*.fuzz.test")),
    st.sampled_from((*DIALECTS, "plain")),
)


def test_every_dialect_is_tried() -> None:
    assert {PREFIXES[each.partition("/")[0] + "/"].dialect for each in NAMES} == set(DIALECTS)
    assert len(NAMES) > 400


@in_one_loop
@settings(deadline=None, max_examples=120, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CASE, min_size=1, max_size=4))
async def test_no_annotation_harms_a_healthy_ingress(
    lab: GatewayLab, cases: list[tuple[dict[str, str], str, str, str, str]]
) -> None:
    classes = [klass(each) for each in (*DIALECTS, "plain")]
    healthy = ingress("healthy", {"Exact /healthy/0d1e": "one"}, host="healthy.test")
    before = lab.snapshot
    if not before.ingresses:
        for each in classes:
            lab.door(*gateway_of(each["metadata"]["name"]), 80)
        await lab.apply(text(*classes, healthy))
        await opened(lab, "nginx")
        before = lab.snapshot
    objects = [
        ingress(f"fuzz{at}", {path: "two"}, {}, of=of, host=host, kind=kind, age=9)
        for at, (_, path, kind, host, of) in enumerate(cases)
    ]
    for obj, (wishes, *_) in zip(objects, cases, strict=True):
        obj["metadata"]["annotations"] = wishes
    events = [lab.event(each) for each in objects]
    assert all(isinstance(each.new, Ingress) for each in events)
    try:
        lab.snapshot = fold(before, events)
        outcome = await lab.settle()
        assert not outcome.failed, [each.error[-400:] for each in outcome.failed]
        assert await asked(lab, "http://healthy.test/healthy/0d1e") == "one /healthy/0d1e"
        convert(lab.snapshot.ingress_classes, lab.snapshot.ingresses, lab.snapshot.services, Options())
    finally:
        lab.snapshot = before
        await lab.settle()
