from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.agent.attachments import AttachmentStore, StoreError, host_ifname, mac_address
from fairlead.agent.ipam import Exhausted
from fairlead.world.attachment import Attachment

CIDRS = ("10.244.1.0/28", "fd10:244:0:1::/64")


def attachment(container_id: str) -> Attachment:
    return Attachment(
        container_id=container_id,
        ifname="eth0",
        netns=f"/run/netns/{container_id}",
        host_ifname=host_ifname(container_id, "eth0"),
        mac=mac_address(container_id, "eth0"),
        addresses=(),
    )


def opened(folder: Path) -> AttachmentStore:
    store = AttachmentStore(folder)
    store.configure(CIDRS)
    return store


def test_names_are_stable_and_fit_the_kernel() -> None:
    assert host_ifname("c1", "eth0") == host_ifname("c1", "eth0") != host_ifname("c1", "eth1")
    assert len(host_ifname("c" * 64, "eth0")) == 14
    assert int(mac_address("c1", "eth0")[:2], 16) & 3 == 2


def test_survives_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    record = store.reserve(attachment("a"), "fairlead")
    store.persist(record)
    store.complete("a", "eth0")
    again = opened(tmp_path)
    assert again.attachments() == [record.attachment]
    assert again.is_complete("a", "eth0")
    assert again.reserve(attachment("b"), "fairlead").attachment.addresses == ("10.244.1.3", "fd10:244:0:1::3")


def test_an_attachment_that_was_never_answered_is_known_as_such(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.persist(store.reserve(attachment("a"), "fairlead"))
    again = opened(tmp_path)
    assert ("a", "eth0") in again.records
    assert not again.is_complete("a", "eth0")


def test_a_file_that_cannot_be_read_stops_new_attachments_until_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / (host_ifname("x", "eth0") + ".json")).write_bytes(b"{")
    store = opened(tmp_path)
    with pytest.raises(StoreError, match="cannot be read"):
        store.reserve(attachment("a"), "fairlead")
    store.erase("x", "eth0")
    store.forget("x", "eth0")
    assert store.reserve(attachment("a"), "fairlead").attachment.addresses


def test_a_file_under_a_wrong_name_is_not_believed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.persist(store.reserve(attachment("a"), "fairlead"))
    path = next(tmp_path.glob("*.pending"))
    path.rename(path.with_name("fl000000000000.json"))
    assert "fl000000000000.json" in AttachmentStore(tmp_path).damaged


def test_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "fl000000000000.tmp").write_bytes(b"{")
    assert not AttachmentStore(tmp_path).damaged
    assert list(tmp_path.iterdir()) == []


class Store(RuleBasedStateMachine):
    """ADD and DEL step by step, with a crash possible between any two; addresses in use are those of pods that may still run."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="flt-cni-"))
        self.store = opened(self.folder)
        self.on_disk: dict[str, tuple[str, ...]] = {}
        self.reserved: dict[str, object] = {}
        self.erased: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(name=st.sampled_from("abcdefghijklmnop"))
    def reserve(self, name: str) -> None:
        if (name, "eth0") in self.store.records:
            return
        try:
            self.reserved[name] = self.store.reserve(attachment(name), "fairlead")
        except Exhausted:
            assert len(self.store.records) == 13

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def persist(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.reserved)))
        record = self.reserved.pop(name)
        self.store.persist(record)
        self.on_disk[name] = record.attachment.addresses

    @precondition(lambda self: self.on_disk.keys() - self.erased)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.on_disk.keys() - self.erased)))
        if not self.store.is_complete(name, "eth0"):
            self.store.complete(name, "eth0")

    @precondition(lambda self: self.on_disk.keys() - self.erased)
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.on_disk.keys() - self.erased)))
        self.store.erase(name, "eth0")
        self.erased.add(name)

    @precondition(lambda self: self.erased)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.erased)))
        self.store.forget(name, "eth0")
        self.erased.discard(name)
        del self.on_disk[name]

    @rule()
    def crash(self) -> None:
        self.reserved.clear()
        for name in self.erased:
            del self.on_disk[name]
        self.erased.clear()
        self.store = opened(self.folder)
        assert {key[0] for key in self.store.records} == self.on_disk.keys()

    @invariant()
    def no_address_has_two_holders(self) -> None:
        held = [address for record in self.store.records.values() for address in record.attachment.addresses]
        assert len(held) == len(set(held)) == 2 * len(self.store.records)
        for name, addresses in self.on_disk.items():
            assert self.store.records[(name, "eth0")].attachment.addresses == addresses


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
