"""HTTP and gRPC at one listener: who has a host, against a calculation from scratch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.model.gateway.rivals import Contender, Rivals, RouteKey

HOSTS = ("*", "*.a", "*.b.a", "x.a", "x.b.a", "y.b.a", "z")
CONTENDERS = st.builds(
    lambda kind, name, age, hosts: Contender((kind, ("default", name)), (str(age), f"default/{name}"), tuple(hosts)),
    st.sampled_from(("HTTPRoute", "GRPCRoute")),
    st.sampled_from("abcd"),
    st.integers(0, 3),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True),
)


def overlap(one: str, other: str) -> bool:
    """Whether some name fits both: tried with every name that these hosts can tell apart."""
    names = ("x.a", "q.a", "x.b.a", "y.b.a", "q.b.a", "z", "q", "q.q.b.a")

    def fits(host: str, name: str) -> bool:
        return host in ("*", name) or (host[0] == "*" and name.endswith(host[1:]) and name != host[2:])

    return any(fits(one, name) and fits(other, name) for name in names)


def from_scratch(routes: dict[RouteKey, Contender]) -> dict[RouteKey, RouteKey | None]:
    found: dict[RouteKey, RouteKey | None] = {}
    for route in sorted(routes.values(), key=lambda each: (each.age, each.name)):
        found[route.name] = next(
            (
                name
                for name, winner in found.items()
                if winner is None
                and name[0] != route.name[0]
                and any(overlap(one, other) for one in routes[name].hosts for other in route.hosts)
            ),
            None,
        )
    return found


@given(st.lists(st.tuples(st.booleans(), CONTENDERS), max_size=30))
def test_whatever_comes_and_goes_the_oldest_has_a_host(steps: list[tuple[bool, Contender]]) -> None:
    rivals, routes = Rivals(), dict[RouteKey, Contender]()
    before: dict[RouteKey, RouteKey | None] = {}
    for comes, route in steps:
        if comes:
            routes[route.name] = route
            told = rivals.put(route)
        else:
            routes.pop(route.name, None)
            told = rivals.remove(route.name)
        wanted = from_scratch(routes)
        assert {name: rivals.winner(name) for name in routes} == wanted
        others = (wanted.keys() | before.keys()) - {route.name}
        assert told >= {name for name in others if wanted.get(name, 0) != before.get(name, 0)}
        before = wanted
