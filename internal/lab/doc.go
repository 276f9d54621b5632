// Package lab is an embedded fleet of pretend VMs: real SSH and SFTP servers
// on loopback, all in one process, each with a directory as its machine. The
// real host script runs there under the real sh; sudo, systemctl and a few
// more are small stand-ins, systemd is played by the lab, and a stand-in agent
// reads the certificate and answers for Entra.
//
// It serves the demo, the tests and the benchmarks. It needs Linux.
package lab
