// Package doctor turns what a look at a host found into checks: each passed,
// failed with what mends it, or was not made because an earlier one failed. It is
// a pure function of what was seen.
package doctor

import (
	"context"
	"errors"
	"slices"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Names are those of the checks, in the order in which they are shown. They are
// part of the JSON contract: they may be added to, never renamed.
var Names = []string{
	"jump", "reach", "host_key", "authentication", "sftp", "sudo", "helper", "script",
	"tools", "systemd", "openssl", "clock", "space", "protected_links",
	"configuration", "certificate_path", "certificate_form",
	"unit", "running", "restart_time", "log", "accepted", "dead_man", "unfinished", "leftovers",
}

// LeastSystemd is the oldest version of systemd that host.sh works with.
const LeastSystemd = 239

// Check is one thing that was looked at. OK is nil where it was not; with a Message
// the host did not tell. Message says
// what was seen; it names no host, so that equal failures can be counted
// together. Hint is what mends a failure, or empty; where a command of this
// program does, Command is that command without inventory and hosts.
type Check struct {
	Name    string   `json:"name"`
	OK      *bool    `json:"ok"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
	Command []string `json:"-"`
}

// Failed tells whether the check was made and not passed.
func (c Check) Failed() bool { return c.OK != nil && !*c.OK }

// Failed tells whether one of the checks failed.
func Failed(checks []Check) bool { return slices.ContainsFunc(checks, Check.Failed) }

// Visit is what came of going to a host.
type Visit struct {
	Host    inventory.Host
	Jumps   []string // the jump hosts on the way, by name
	DialErr error    // why there was no connection
	Found   *host.Examination
}

// Unreachable tells whether nobody could be logged in as.
func (v Visit) Unreachable() bool { return v.lost() != nil && !v.Interrupted() }

// Interrupted tells whether the visit was cut short on purpose.
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
	return []error{v.Found.Err, v.Found.SeenErr, v.Found.SFTP}
}

// lost is why there was no connection, or why it did not last.
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

func (c chart) ok(name, message string) {
	yes := true
	c[name] = Check{Name: name, OK: &yes, Message: message}
}

func (c chart) fail(name, message, hint string) {
	no := false
	c[name] = Check{Name: name, OK: &no, Message: message, Hint: hint}
}

// unknown is a check to which the host has no answer.
func (c chart) unknown(name, message string) { c[name] = Check{Name: name, Message: message} }

// settle fails a check which a command of this program mends.
func (c chart) settle(name, message string, command ...string) {
	c.fail(name, message, "")
	check := c[name]
	check.Command = append([]string{"aoifleet"}, command...)
	c[name] = check
}

// passUnless fails a check, or passes it where there is no problem.
func (c chart) passUnless(name string, p *problem.Error, message string) {
	if p != nil {
		c.fail(name, p.Message, p.Hint)
		return
	}
	c.ok(name, message)
}

func (c chart) passed(name string) bool { return c[name].OK != nil && *c[name].OK }

// Checks are all checks of a visit, one for each of Names, in that order.
func Checks(v Visit) []Check {
	c := chart{}
	if !v.Interrupted() {
		c.connection(v)
		if v.lost() == nil && v.Found != nil {
			c.session(v)
			c.machine(v)
			c.files(v)
			c.agent(v)
			c.traces(v)
		}
	}
	all := make([]Check, len(Names))
	for i, name := range Names {
		all[i] = c[name] // what nobody set was not checked
		all[i].Name = name
	}
	return all
}
