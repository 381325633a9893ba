"""Incremental ADS as a dialogue: requests of a proxy in, responses out."""

from __future__ import annotations

import pytest

from fairlead.drivers.xds.protocol import Cache, Request, Resource, Response, Stream

C, E = "clusters", "endpoints"


def made(**versions: str) -> Cache:
    cache = Cache((C, E))
    for name, version in versions.items():
        put(cache, name, version)
    return cache


def put(cache: Cache, name: str, version: str, kind: str = C) -> None:
    cache.put(kind, Resource(name, version, version.encode()))


def said(responses: list[Response]) -> list[str]:
    return [
        f"{each.type_url} {' '.join(f'{r.name}={r.version}' for r in each.resources)}"
        + (f" -{' -'.join(each.removed)}" if each.removed else "")
        for each in responses
    ]


def ack(stream: Stream, responses: list[Response], error: str = "") -> list[Response]:
    return [
        more
        for each in responses
        for more in stream.receive(Request(type_url=each.type_url, nonce=each.nonce, error=error))
    ]


def test_a_new_proxy_hears_everything_once() -> None:
    stream = Stream(made(a="1", b="1"))
    first = stream.receive(Request(type_url=C))
    assert said(first) == ["clusters a=1 b=1"]
    assert not stream.is_settled(C, "a")
    assert ack(stream, first) == []
    assert stream.is_settled(C, "a")


def test_a_proxy_hears_that_there_is_nothing() -> None:
    stream = Stream(made())
    assert said(stream.receive(Request(type_url=C))) == ["clusters "]
    assert stream.receive(Request(type_url=C, subscribe=("x",), nonce="1")) != []


def test_only_what_changed_is_sent() -> None:
    cache = made(a="1", b="1")
    stream = Stream(cache)
    ack(stream, stream.receive(Request(type_url=C)))
    put(cache, "a", "2")
    put(cache, "b", "1")
    assert said(list(stream.push({C: ["a", "b"]}))) == ["clusters a=2"]
    assert said(list(stream.push({C: ["a", "b"]}))) == []


def test_removals_come_after_and_in_reverse() -> None:
    cache = made(a="1")
    put(cache, "a", "1", E)
    stream = Stream(cache)
    ack(stream, stream.receive(Request(type_url=C)))
    ack(stream, stream.receive(Request(type_url=E, subscribe=("a",))))
    for kind in (C, E):
        cache.remove(kind, "a")
    put(cache, "b", "1")
    told = list(stream.push({C: ["a", "b"], E: ["a"]}))
    assert said(told) == ["clusters b=1", "endpoints  -a", "clusters  -a"]
    assert not stream.is_settled(C, "a")
    ack(stream, told)
    assert stream.is_settled(C, "a")


def test_a_proxy_that_comes_back_hears_the_difference() -> None:
    stream = Stream(made(same="1", changed="2", new="1"))
    first = stream.receive(Request(type_url=C, initial={"same": "1", "changed": "1", "gone": "1"}))
    assert said(first) == ["clusters changed=2 new=1 -gone"]
    assert stream.is_settled(C, "same")


def test_named_resources_are_sent_when_asked_for_and_when_they_come() -> None:
    cache = made()
    put(cache, "a", "1", E)
    stream = Stream(cache)
    first = stream.receive(Request(type_url=E, subscribe=("a", "later")))
    assert said(first) == ["endpoints a=1 -later"]
    ack(stream, first)
    put(cache, "later", "1", E)
    put(cache, "unwanted", "1", E)
    assert said(list(stream.push({E: ["later", "unwanted"]}))) == ["endpoints later=1"]
    stream.receive(Request(type_url=E, unsubscribe=("a",)))
    put(cache, "a", "2", E)
    assert said(list(stream.push({E: ["a"]}))) == []


def test_a_rejection_is_kept_in_the_proxys_words_and_good_siblings_count() -> None:
    cache = made(good="1", bad="1")
    stream = Stream(cache)
    ack(stream, stream.receive(Request(type_url=C)), error="Error adding cluster bad: no")
    assert list(stream.rejections()) == [(C, "bad", "Error adding cluster bad: no")]
    assert stream.is_settled(C, "good") and stream.is_settled(C, "bad")
    put(cache, "bad", "2")
    assert list(stream.rejections()) == []
    assert not stream.is_settled(C, "bad")
    ack(stream, list(stream.push({C: ["bad"]})))
    assert stream.is_settled(C, "bad") and list(stream.rejections()) == []


def test_a_rejection_that_names_nothing_is_of_all() -> None:
    stream = Stream(made(a="1", b="1"))
    ack(stream, stream.receive(Request(type_url=C)), error="no")
    assert [name for _, name, _ in stream.rejections()] == ["a", "b"]


def test_an_answer_to_an_old_response_says_nothing_of_the_new_one() -> None:
    cache = made(a="1")
    stream = Stream(cache)
    first = stream.receive(Request(type_url=C))
    put(cache, "a", "2")
    second = list(stream.push({C: ["a"]}))
    ack(stream, first)
    assert not stream.is_settled(C, "a")
    ack(stream, second)
    assert stream.is_settled(C, "a")


@pytest.mark.parametrize("request_", [Request(type_url="unknown"), Request(type_url=C, nonce="99", subscribe=("x",))])
def test_nonsense_is_no_harm(request_: Request) -> None:
    stream = Stream(made(a="1"))
    ack(stream, stream.receive(Request(type_url=C)))
    stream.receive(request_)
    assert stream.is_settled(C, "a")


def follower_stream(cache: Cache, **initial: dict[str, str]) -> Stream:
    stream = Stream(cache)
    for kind in (C, E):
        subscribe = ("*",) if kind == C else tuple(cache.of(E))
        ack(stream, stream.receive(Request(type_url=kind, subscribe=subscribe, initial=initial.get(kind, {}))))
    return stream


def followed() -> Cache:
    cache = Cache((C, E), {C: E})
    for name in "ab":
        put(cache, name, "1")
        put(cache, name, "1", E)
    return cache


def test_endpoints_of_a_changed_cluster_are_sent_again() -> None:
    cache = followed()
    stream = follower_stream(cache)
    put(cache, "a", "2")
    put(cache, "b", "2", E)
    again = list(stream.push({C: ["a"], E: ["b"]}))
    assert said(again) == ["clusters a=2", "endpoints a=1 b=2"]
    assert not stream.is_settled(E, "a")
    ack(stream, again)
    assert stream.is_settled(E, "a")
    assert list(stream.push({C: ["a"], E: ["a", "b"]})) == []


@pytest.mark.parametrize("clusters_first", [True, False])
def test_a_proxy_that_comes_back_hears_the_endpoints_of_changed_clusters_again(clusters_first: bool) -> None:
    cache = followed()
    put(cache, "a", "2")
    stream = Stream(cache)
    clusters = Request(type_url=C, subscribe=("*",), initial={"a": "1", "b": "1"})
    endpoints = Request(type_url=E, subscribe=("a", "b"), initial={"a": "1", "b": "1"})
    answers = [stream.receive(each) for each in ((clusters, endpoints) if clusters_first else (endpoints, clusters))]
    assert [text for each in answers for text in said(each)] == ["clusters a=2", "endpoints a=1"]


NAMED = {
    "one of two": ("Error adding a/web/80: cannot bind", {"a/web/80"}),
    "one whose name holds another's": ("Error adding a/web/8080: cannot bind", {"a/web/8080"}),
    "one whose name ends with another's": ("Error adding aa/a/web/80, and so on", {"aa/a/web/80"}),
    "one with more behind": ("a/web/80~believed is odd", {"a/web/80~believed"}),
    "at the end of a sentence": ("it is a/web/80.", {"a/web/80"}),
    "none": ("no", {"a/web/80", "a/web/8080", "aa/a/web/80", "a/web/80~believed"}),
}


@pytest.mark.parametrize("case", NAMED)
def test_who_is_meant_by_a_rejection(case: str) -> None:
    error, meant = NAMED[case]
    stream = Stream(made(**dict.fromkeys(("a/web/80", "a/web/8080", "aa/a/web/80", "a/web/80~believed"), "1")))
    ack(stream, stream.receive(Request(type_url=C)), error)
    assert {name for _, name, _ in stream.rejections()} == meant


def test_what_was_rejected_is_sent_again_when_that_is_forgotten() -> None:
    stream = Stream(made(a="1", b="1"))
    ack(stream, stream.receive(Request(type_url=C)), "b is odd")
    assert said(list(stream.push({C: ["a", "b"]}))) == []
    stream.forget_rejections(C)
    again = list(stream.push({C: ["a", "b"]}))
    assert said(again) == ["clusters b=1"]
    assert not stream.is_settled(C, "b")
    ack(stream, again)
    assert stream.is_settled(C, "b") and not list(stream.rejections())


def test_resources_of_a_type_that_is_told_apart_are_rejected_one_by_one() -> None:
    cache = Cache((C, E), apart=(E,))
    for name in ("a", "b", "c"):
        put(cache, name, "1", E)
    stream = Stream(cache)
    first = stream.receive(Request(type_url=E, subscribe=("a", "b", "c")))
    assert said(first) == ["endpoints a=1", "endpoints b=1", "endpoints c=1"]
    ack(stream, [first[0], first[2]])
    ack(stream, [first[1]], error="words that name nobody")
    assert list(stream.rejections()) == [(E, "b", "words that name nobody")]
    assert all(stream.is_settled(E, name) for name in "abc")
    for name in ("a", "c"):
        cache.remove(E, name)
    assert said(list(stream.push({E: ["a", "b", "c"]}))) == ["endpoints  -a -c"]
