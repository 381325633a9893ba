"""What kube-controller-manager and kube-scheduler do, as far as a network needs it."""
