// Package lab runs an embedded fleet of simulated VMs: real SSH and SFTP servers
// on loopback, all in one process, each with a directory as its root file
// system. The real host script runs there under the real sh; sudo, systemctl and a
// few more programs are small stand-ins, the lab simulates systemd, and a stand-in
// agent reads the certificate and answers for Entra.
//
// The demo, the tests and the benchmarks use it. It needs Linux.
package lab
