"""Streams between kubectl and a container: exec, attach and port-forward over SPDY and WebSocket.

Towards the client there are two transports and two protocols; towards the kubelet there is one (`kubelet_stream`). The parts that know bytes
(`spdy`, `kubelet_stream`) do no I/O.
"""
