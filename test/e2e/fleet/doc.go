// Package fleet boots real Debian hosts, with systemd, OpenSSH and sudo, on one
// Linux machine: containers of systemd-nspawn that share one network namespace
// without a route to the outside, each with its own loopback address and its own root
// file system, and with the stand-in agent as a unit. It needs root.
//
// A fleet is always removed: reap.sh waits on a lock that the kernel releases when
// the fleet is closed, and also when its process panics or is killed.
package fleet
