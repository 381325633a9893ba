"""What Envoy has of tables of hosts, and which hosts it does not want."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.xds.hosts import HostTables

T = "default/web/80"


def made(**hosts: bytes) -> HostTables:
    tables = HostTables()
    for domain, body in hosts.items():
        tables.put(T, domain, body)
    return tables


def test_a_table_is_its_hosts_in_the_order_of_their_names() -> None:
    tables = made(b=b"2", a=b"1")
    assert tables.whole(T).body == b"12"
    assert tables.whole(T) == made(a=b"1", b=b"2").whole(T)
    assert tables.whole(T).digest != made(a=b"12", b=b"").whole(T).digest
    assert tables.whole("other").body == b""


def test_only_what_changed_since_the_last_acceptance_is_suspect() -> None:
    tables = made(a=b"1", b=b"2", c=b"3")
    assert tables.suspects(T) == ["a", "b", "c"]
    tables.accept(T)
    assert tables.suspects(T) == []
    tables.put(T, "a", b"4")
    tables.put(T, "b", None)
    tables.put(T, "d", b"5")
    assert tables.suspects(T) == ["a", "d"]
    assert tables.whole(T).body == b"435"
    assert tables.whole(T, without=["a", "d"]).body == b"13"
    tables.forget(T)
    assert tables.suspects(T) == ["a", "c", "d"]


def test_a_bad_host_stays_as_it_was_until_it_changes() -> None:
    tables = made(a=b"1")
    tables.accept(T)
    tables.put(T, "a", b"bad")
    tables.put(T, "b", b"bad")
    for domain in ("a", "b"):
        tables.reject(T, domain, "no")
    tables.accept(T)
    assert tables.whole(T).body == b"1"
    assert dict(tables.rejected()) == {(T, "a"): "no", (T, "b"): "no"}
    assert tables.any_bad
    tables.put(T, "a", b"2")
    tables.put(T, "b", None)
    assert tables.whole(T).body == b"2"
    assert not tables.any_bad


DOMAINS, BODIES = st.sampled_from("abc"), st.sampled_from([None, b"x", b"y", b"!"])


@given(st.lists(st.tuples(DOMAINS, BODIES, st.booleans()), max_size=20))
def test_what_envoy_has_is_what_is_wanted_but_for_bad_hosts(steps: list[tuple[str, bytes | None, bool]]) -> None:
    """Envoy does not want `!`; after each exchange it has the newest body of each host that it wants."""
    tables, wanted, accepted = HostTables(), dict[str, bytes | None](), dict[str, bytes | None]()
    for domain, body, exchange in steps:
        tables.put(T, domain, body)
        wanted[domain] = body
        if not exchange:
            continue
        for suspect in tables.suspects(T):
            if wanted[suspect] == b"!":
                tables.reject(T, suspect, "no")
        tables.accept(T)
        accepted = {key: accepted.get(key) if body == b"!" else body for key, body in wanted.items()}
        assert tables.whole(T).body == b"".join(accepted[key] or b"" for key in sorted(accepted))
        assert dict(tables.rejected()) == {(T, key): "no" for key, body in wanted.items() if body == b"!"}
