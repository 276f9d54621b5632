package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func demoCommand(call *invocation) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a rotation of an embedded fleet of 12 VMs: refused before its certificate is registered, then carried out, but for one VM that fails and is rolled back (Linux)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runDemo(call) },
	}
}

// sick is the machine of the demo whose agent is refused with the new
// certificate while its unit stays active.
const sick = "paris-sftp-04"

func demoName(i int) string {
	return fmt.Sprintf("%s-sftp-%02d", []string{"london", "paris"}[i/6], i%6+1)
}

func runDemo(call *invocation) (err error) {
	call.signals.heed() // its files are removed at the end
	fleet, pretend, err := startLabFleet(lab.Options{Machines: 12, Name: demoName, Parallel: 4, MaxFailures: 2}, lab.OldCertificate)
	if err != nil {
		return err
	}
	defer pretend.server.Close()
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if err := fleet.Machine(sick).SetFault("log-only " + fleet.NewThumbprint()); err != nil {
		return err
	}
	d := &demo{invocation: call, fleet: fleet}
	for _, act := range []func() error{d.unregistered, d.register, d.rotate} {
		if err := act(); err != nil || call.ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// demo is the demonstration, act by act.
type demo struct {
	*invocation
	fleet *lab.Fleet
}

// unregistered shows that nobody is touched for a certificate that is not accepted.
func (d *demo) unregistered() error {
	fmt.Fprintf(d.stdout, "# 12 agent VMs run on this machine, each with its own SSH server, beside a pretend Entra\n# and Key Vault. The new certificate is not registered yet, and verify: entra asks first.\n")
	code := d.again("rotate", "-i", d.fleet.InventoryFile(), "--yes", "--verify-wait", "0s")
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
			return fmt.Errorf("%s was touched", m.Name)
		}
	}
	fmt.Fprintln(d.stdout, "# on their disks: no machine was touched")
	return nil
}

func (d *demo) register() error {
	code := d.again("certificate", "register", "-i", d.fleet.InventoryFile(), "--sign-with", d.fleet.CertificateFile(lab.OldCertificate), "--yes")
	if d.ctx.Err() != nil {
		d.code = code
		return nil
	}
	if code != problem.ExitOK {
		return fmt.Errorf("register ended with exit code %d", code)
	}
	return nil
}

// runRotate is the main job, with one machine on which the agent is refused all the
// same.
func (d *demo) rotate() error {
	fmt.Fprintf(d.stdout, "\n# Now it is registered. On %s the agent will be refused all the same, while\n# its unit stays active.\n", sick)
	code := d.again("rotate", "-i", d.fleet.InventoryFile(), "--yes")
	fmt.Fprintf(d.stdout, "# exit code %d\n", code)
	if d.ctx.Err() != nil {
		d.code = code
		return nil
	}
	return d.asserts(code)
}

// asserts looks at the machines themselves: the demo claims nothing that is not so.
func (d *demo) asserts(code int) error {
	for _, m := range d.fleet.Machines() {
		want := d.fleet.NewThumbprint()
		if m.Name == sick {
			want = d.fleet.OldThumbprint()
		}
		if got := m.LiveThumbprint(); got != want {
			return fmt.Errorf("%s has certificate %s, not %s", m.Name, got, want)
		}
	}
	if code != problem.ExitRolledBack {
		return fmt.Errorf("rotate ended with exit code %d, not %d", code, problem.ExitRolledBack)
	}
	fmt.Fprintln(d.stdout, "# on their disks: 11 machines have the new certificate, the one that failed has its old one")
	return nil
}

// again runs the program with other arguments, as a user would.
func (d *demo) again(args ...string) int {
	fmt.Fprintf(d.stdout, "\n$ aoifleet %s\n", strings.Join(args, " "))
	own := *d.process
	own.getenv = func(name string) string {
		if name == "XDG_STATE_HOME" { // the journal goes with the fleet
			return d.fleet.Dir()
		}
		return d.getenv(name)
	}
	return newInvocation(d.ctx, &own, d.signals).execute(args)
}
