"""DaemonSets: a pod on every node that wants one."""
