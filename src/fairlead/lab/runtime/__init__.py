"""What containerd is to a kubelet: pods as namespaces, containers as processes, without images."""
