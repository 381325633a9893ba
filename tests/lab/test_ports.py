from __future__ import annotations

import socket

from fairlead.lab import ports


def test_two_labs_that_come_up_at_once_choose_different_ports():
    with ports.chosen() as one, ports.chosen() as other:
        assert one != other
    with ports.chosen() as again:
        assert again == one


def test_a_port_that_somebody_listens_on_is_passed_over():
    with ports.chosen() as free:
        pass
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", free))
        taken.listen()
        with ports.chosen() as other:
            assert other > free
