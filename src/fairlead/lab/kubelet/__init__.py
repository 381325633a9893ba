"""The lab's kubelet: makes the pods that are bound to one node run, and tells the API server how they are."""
