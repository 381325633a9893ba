"""Sockets outlive the process that made them: the keeper, the journal and batches, on loopback."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.dns import batch, journal
from fairlead.drivers.dns.batch import Batch, packed_host, parse_address
from fairlead.drivers.dns.handover import Keeper
from fairlead.drivers.dns.journal import Journal
from fairlead.drivers.dns.sockets import Sockets, open_sockets


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path / "dns.sock")
    yield made
    made.end()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


def send(port: int, *packets: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    for packet in packets:
        sock.send(packet)
    return sock


def batch_of(sockets: Sockets) -> Batch:
    return Batch(sockets.datagrams[0], sockets.journal.memory, 0)


def test_what_waits_in_a_socket_is_there_for_the_next_process(keeper: Keeper) -> None:
    port = free_port()
    first = open_sockets(["127.0.0.1", "::1"], port, keeper)
    first.close()
    with send(port, b"one", b"two"):
        second = open_sockets(["127.0.0.1", "::1"], port, keeper)
        taken = batch_of(second)
        assert [taken.packet(slot) for slot in range(taken.receive())] == [b"one", b"two"]
        taken.close()
        second.close()


def test_a_keeper_of_other_addresses_is_not_used(keeper: Keeper) -> None:
    one, other = free_port(), free_port()
    open_sockets(["127.0.0.1"], one, keeper).close()
    assert keeper.take(["127.0.0.1"], other) is None
    assert keeper.take(["127.0.0.2"], one) is None
    open_sockets(["127.0.0.1"], other, keeper).close()
    assert keeper.take(["127.0.0.1"], one) is None
    found = keeper.take(["127.0.0.1"], other)
    assert found is not None and len(found) == 3
    for descriptor in found:
        os.close(descriptor)


def test_without_a_keeper_nothing_is_there(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "dns.sock")
    assert keeper.take(["127.0.0.1"], 53) is None
    keeper.end()


def test_a_folder_may_be_deeper_than_a_socket_s_name(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    keeper = Keeper(deep / "dns.sock")
    port = free_port()
    try:
        open_sockets(["127.0.0.1"], port, keeper).close()
        again = open_sockets(["127.0.0.1"], port, keeper)
        assert again.datagrams[0].getsockname() == ("127.0.0.1", port)
        again.close()
    finally:
        keeper.end()


def test_batches_answer_everybody_and_remember_nobody() -> None:
    port = free_port()
    sockets = open_sockets(["127.0.0.1"], port)
    each = batch_of(sockets)
    clients = [send(port, b"%d" % number) for number in range(batch.SLOTS + 5)]
    assert each.receive() == batch.SLOTS
    assert {packed_host(each.address(slot)) for slot in range(batch.SLOTS)} == {bytes((127, 0, 0, 1))}
    assert parse_address(each.address(3)) == clients[3].getsockname()
    for slot in range(batch.SLOTS):
        if slot != 10:
            each.answer(slot, each.packet(slot) * 2)
    each.send(0, 10)
    each.send(11, batch.SLOTS)
    each.done()
    assert each.receive() == 5
    each.done()
    assert each.receive() == 0
    for number, sock in enumerate(clients):
        sock.setblocking(False)
        if number < batch.SLOTS and number != 10:
            assert sock.recv(100) == b"%d" % number * 2
        else:
            with pytest.raises(BlockingIOError):
                sock.recv(100)
        sock.close()
    each.close()
    sockets.close()


def test_a_client_that_cannot_be_reached_stops_no_other() -> None:
    port = free_port()
    sockets = open_sockets(["127.0.0.1"], port)
    each = batch_of(sockets)
    clients = [send(port, b"x") for _ in range(3)]
    each.receive()
    # Port 0 is nobody's: sendmmsg(2) ends at the second message.
    name = batch._NAMES_AT + batch._ADDRESS_BYTES
    each.memory[name + 2 : name + 4] = b"\0\0"
    for slot in range(3):
        each.answer(slot, b"y")
    each.send(0, 3)
    for number in (0, 2):
        clients[number].settimeout(2)
        assert clients[number].recv(10) == b"y"
    for sock in clients:
        sock.close()
    each.close()
    sockets.close()


def test_what_was_read_and_not_answered_is_answered_by_the_next_process() -> None:
    """The journal's file stays open, as the keeper's copy of it would."""
    first = Journal(2)
    descriptor = os.dup(first.descriptor)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    each = Batch(sock, first.memory, batch.BYTES)
    client = send(sock.getsockname()[1], b"read but not answered")
    assert each.receive() == 1
    slot = first.remember(0, b"asked outside", bytes(28))
    first.remember(1, b"asked outside too", bytes(16))
    first.answered(slot)
    each.close()
    first.close()
    second = Journal(2, descriptor)
    assert not second.is_new
    left = [(index, packet) for index, packet, _ in second.left_over([True, False])]
    assert left == [(1, b"read but not answered"), (1, b"asked outside too")]
    each = Batch(sock, second.memory, batch.BYTES)
    assert second.left_over([True, False]) == []
    for closing in (each, client, sock, second):
        closing.close()


def test_a_journal_of_another_size_is_not_read() -> None:
    first = Journal(2)
    second = Journal(4, os.dup(first.descriptor))
    assert second.is_new
    first.close()
    second.close()


def test_the_journal_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SLOTS", 2)
    made = Journal(1)
    slots = [made.remember(0, b"x", bytes(16)) for _ in range(3)]
    assert slots[2] is None
    made.answered(slots[2])
    made.answered(slots[0])
    assert made.remember(0, b"x", bytes(16)) == slots[0]
    made.close()


@given(st.lists(st.tuples(st.integers(0, 2 * batch.BYTES + 8192), st.binary(max_size=64)), max_size=20))
def test_a_damaged_journal_does_no_harm(writes: list[tuple[int, bytes]]) -> None:
    made = Journal(2)
    made.is_new = False
    for offset, data in writes:
        made.memory[offset : offset + len(data)] = data
    for index, packet, address in made.left_over([False, True]):
        assert index in (0, 1)
        assert 0 < len(packet) <= batch.SLOT_BYTES
        parse_address(address)
    made.close()


def test_the_layout_is_the_kernel_s() -> None:
    if struct.calcsize("P") == 8:
        assert (batch.Message.length.offset, batch.Buffer.length.offset) == (56, 8)
