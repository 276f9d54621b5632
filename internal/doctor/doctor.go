// Package doctor turns an examination of a host into checks. A check passes, fails with
// a hint how to fix it, or is not made because an earlier one failed. The package is
// pure.
package doctor

import (
	"context"
	"errors"
	"slices"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Names lists the checks in the order in which they are shown. The names are part of the
// JSON contract: new ones may be added, none may be renamed.
var Names = []string{
	"jump", "reach", "host_key", "authentication", "sftp", "sudo", "helper", "script",
	"tools", "systemd", "openssl", "clock", "space", "log_space", "agent_tools", "protected_links",
	"configuration", "certificate_path", "certificate_form",
	"unit", "running", "restart_time", "log", "accepted", "dead_man", "unfinished", "leftovers",
	"entra", "vault", "source_server", "source_host_key", "secrets", "firewall",
}

// MinSystemd is the oldest version of systemd that host.sh works with.
const MinSystemd = 239

// Check is the result of one check. OK is nil if it was not made, or if the host gave no
// answer; then Message says so. Message says what was found. It names no host, so that
// equal failures can be counted together. Hint says how to fix a failure, or is empty; if
// a command of this program fixes it, Command is that command without inventory and
// hosts.
type Check struct {
	Name    string   `json:"name"`
	OK      *bool    `json:"ok"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
	Command []string `json:"-"`
}

// Failed reports whether the check was made and did not pass.
func (c Check) Failed() bool { return c.OK != nil && !*c.OK }

// Failed reports whether one of the checks failed.
func Failed(checks []Check) bool { return slices.ContainsFunc(checks, Check.Failed) }

// Visit is the result of connecting to a host and examining it.
type Visit struct {
	Host    inventory.Host
	Jumps   []string // the names of the jump hosts, in order
	DialErr error    // why the connection failed
	Found   *host.Examination
}

// Unreachable reports whether the login failed or the connection was lost.
func (v Visit) Unreachable() bool { return v.lost() != nil && !v.Interrupted() }

// Interrupted reports whether the operator interrupted the visit.
func (v Visit) Interrupted() bool {
	for _, err := range append(v.errors(), v.DialErr) {
		if errors.Is(err, context.Canceled) {
			return true
		}
	}
	return false
}

func (v Visit) errors() []error {
	if v.Found == nil {
		return nil
	}
	return []error{v.Found.Err, v.Found.SeenErr, v.Found.SFTP, v.Found.InspectErr}
}

// lost returns why there was no connection or why it was lost, else nil.
func (v Visit) lost() error {
	if v.DialErr != nil {
		return v.DialErr
	}
	for _, err := range v.errors() {
		if err != nil && host.AsProblem(err).Class == problem.Unreachable {
			return err
		}
	}
	return nil
}

// chart collects checks by name.
type chart map[string]Check

// ok passes a check.
func (c chart) ok(name, message string) {
	yes := true
	c[name] = Check{Name: name, OK: &yes, Message: message}
}

// fail fails a check.
func (c chart) fail(name, message, hint string) {
	no := false
	c[name] = Check{Name: name, OK: &no, Message: message, Hint: hint}
}

// unknown records a check to which the host gave no answer.
func (c chart) unknown(name, message string) { c[name] = Check{Name: name, Message: message} }

// failWithCommand fails a check that a command of this program fixes.
func (c chart) failWithCommand(name, message string, command ...string) {
	c.fail(name, message, "")
	check := c[name]
	check.Command = append([]string{"aoifleet"}, command...)
	c[name] = check
}

// passUnless fails a check because of p, or passes it if p is nil.
func (c chart) passUnless(name string, p *problem.Error, message string) {
	if p != nil {
		c.fail(name, p.Message, p.Hint)
		return
	}
	c.ok(name, message)
}

func (c chart) passed(name string) bool { return c[name].OK != nil && *c[name].OK }

// Checks returns the checks of a visit, one for each of Names, in that order.
func Checks(v Visit) []Check {
	c := chart{}
	if !v.Interrupted() {
		c.connection(v)
		if v.lost() == nil && v.Found != nil {
			c.session(v)
			c.machine(v)
			c.files(v)
			c.agent(v)
			c.leftovers(v)
			c.needs(v)
		}
	}
	all := make([]Check, len(Names))
	for i, name := range Names {
		all[i] = c[name] // the zero Check was not made
		all[i].Name = name
	}
	return all
}
