package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func demoCommand(call *invocation) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a rotation of 12 simulated VMs, one of which fails and is rolled back (Linux)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runDemo(call) },
	}
}

// refusedVM is the machine of the demo whose agent is refused with the new certificate
// while its unit stays active.
const refusedVM = "paris-sftp-04"

func demoName(i int) string {
	return fmt.Sprintf("%s-sftp-%02d", []string{"london", "paris"}[i/6], i%6+1)
}

func runDemo(call *invocation) (err error) {
	call.signals.heed() // its files are removed at the end
	fleet, azure, err := startLabFleet(lab.Options{Machines: 12, Name: demoName, Parallel: 4, MaxFailures: 2}, lab.OldCertificate)
	if err != nil {
		return err
	}
	defer azure.server.Close()
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if err := fleet.Machine(refusedVM).SetFault("log-only " + fleet.NewThumbprint()); err != nil {
		return err
	}
	d := &demo{invocation: call, fleet: fleet}
	for _, step := range []func() error{d.rotateUnregistered, d.register, d.rotate, d.renew} {
		if err := step(); err != nil || call.ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// demo runs the program on a fleet, step by step.
type demo struct {
	*invocation
	fleet *lab.Fleet
}

// rotateUnregistered shows that no host is changed for a certificate that Entra does not
// accept.
func (d *demo) rotateUnregistered() error {
	fmt.Fprint(d.stdout, "# 12 simulated agent VMs run on this machine, each with its own SSH server, beside a\n# simulated Entra and Key Vault. The new certificate is not registered yet; because the\n# inventory says verify: entra, rotate asks Entra before it changes a VM.\n")
	code := d.run("rotate", "-i", d.fleet.InventoryFile(), "--yes", "--verify-wait", "0s")
	fmt.Fprintf(d.stdout, "# exit code %d\n", code)
	if d.ctx.Err() != nil {
		d.code = code
		return nil
	}
	if code != problem.ExitRefused {
		return fmt.Errorf("rotate ended with exit code %d, not %d", code, problem.ExitRefused)
	}
	for _, m := range d.fleet.Machines() {
		if m.LiveThumbprint() != d.fleet.OldThumbprint() {
			return fmt.Errorf("%s was changed", m.Name)
		}
	}
	fmt.Fprintln(d.stdout, "# checked on the disks: no VM was changed")
	return nil
}

func (d *demo) register() error {
	code := d.run("certificate", "register", "-i", d.fleet.InventoryFile(), "--sign-with", d.fleet.CertificateFile(lab.OldCertificate), "--yes")
	if d.ctx.Err() != nil {
		d.code = code
		return nil
	}
	if code != problem.ExitOK {
		return fmt.Errorf("register ended with exit code %d", code)
	}
	return nil
}

// rotate shows a rotation in which the agent of one machine is refused.
func (d *demo) rotate() error {
	fmt.Fprintf(d.stdout, "\n# The certificate is registered now. On %s Entra still refuses the agent, while\n# its unit stays active.\n", refusedVM)
	code := d.run("rotate", "-i", d.fleet.InventoryFile(), "--yes")
	fmt.Fprintf(d.stdout, "# exit code %d\n", code)
	if d.ctx.Err() != nil {
		d.code = code
		return nil
	}
	return d.check(code)
}

// renew shows a night in which the certificate is due, and one in which it is not.
func (d *demo) renew() error {
	if d.ctx.Err() != nil {
		return nil
	}
	inventory, keys, err := addRenewal(d.fleet, lab.NewCertificate)
	if err != nil {
		return err
	}
	fmt.Fprint(d.stdout, "\n# A nightly job: renew makes the next certificate when one ends soon, registers it, waits until\n# Entra accepts it, and rotates. Here the certificate of two years ends soon enough.\n")
	command := []string{"renew", "-i", inventory, "--keys", keys, "--sign-with", filepath.Join(keys, "agents.p12.b64"), "--yes"}
	for _, night := range [][]string{{"--expiring", "735d", "--days", "800"}, nil} {
		code := d.run(append(slices.Clone(command), night...)...)
		if d.ctx.Err() != nil {
			d.code = code
			return nil
		}
		if code != problem.ExitOK {
			return fmt.Errorf("renew ended with exit code %d", code)
		}
	}
	next, err := leafIn(filepath.Join(keys, "agents.p12.b64"))
	if err != nil {
		return err
	}
	for _, m := range d.fleet.Machines() {
		if got, want := m.LiveThumbprint(), certificate.Describe(next).Thumbprint; got != want {
			return fmt.Errorf("%s has certificate %s, not %s", m.Name, got, want)
		}
	}
	fmt.Fprintln(d.stdout, "# checked on the disks: 12 VMs have the certificate that renew has made; the night after had nothing to do")
	return nil
}

// check reads the machines' disks, so that the demo claims only what is true.
func (d *demo) check(code int) error {
	for _, m := range d.fleet.Machines() {
		want := d.fleet.NewThumbprint()
		if m.Name == refusedVM {
			want = d.fleet.OldThumbprint()
		}
		if got := m.LiveThumbprint(); got != want {
			return fmt.Errorf("%s has certificate %s, not %s", m.Name, got, want)
		}
	}
	if code != problem.ExitRolledBack {
		return fmt.Errorf("rotate ended with exit code %d, not %d", code, problem.ExitRolledBack)
	}
	fmt.Fprintln(d.stdout, "# checked on the disks: 11 VMs have the new certificate, the failed one has its old one")
	return nil
}

// run runs the program with other arguments, as a user would.
func (d *demo) run(args ...string) int {
	fmt.Fprintf(d.stdout, "\n$ aoifleet %s\n", strings.Join(args, " "))
	own := *d.given
	own.getenv = func(name string) string {
		if name == "XDG_STATE_HOME" { // the journal is removed with the fleet
			return d.fleet.Dir()
		}
		return d.getenv(name)
	}
	return newInvocation(d.ctx, &own, d.signals).execute(args)
}
