package doctor

import (
	"errors"
	"strings"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// connection checks the steps of a connection up to the login. A step that fails proves
// that those before it passed, unless nothing was sent.
func (c chart) connection(v Visit) {
	err := v.lost()
	var e *remote.DialError
	_ = errors.As(err, &e)
	if e != nil && e.Hop != "" {
		c.fail("jump", e.Message, e.Hint)
		return
	}
	order := []string{"jump", "reach", "host_key", "authentication"}
	failed := failedAt(err)
	for _, name := range order {
		switch {
		case name == failed:
			p := host.AsProblem(err)
			c.fail(name, p.Message, p.Hint)
			return
		case e != nil && e.Untried:
		default:
			c.ok(name, v.connectionMessage(name))
		}
	}
}

// failedAt returns the name of the check that a connection error fails, "" for no error.
func failedAt(err error) string {
	if err == nil {
		return ""
	}
	switch host.AsProblem(err).Class {
	case problem.HostKeyUnknown, problem.HostKeyChanged:
		return "host_key"
	case problem.Authentication:
		return "authentication"
	}
	return "reach"
}

// connectionMessage returns the message of a connection check that passed.
func (v Visit) connectionMessage(name string) string {
	if name != "jump" {
		return ""
	}
	if len(v.Jumps) == 0 {
		return "none"
	}
	return "through " + strings.Join(v.Jumps, ", ")
}

// session checks what the connection is used for: file transfer, and root.
func (c chart) session(v Visit) {
	f := v.Found
	c.sftp(f.SFTP)
	reason := problemOf(f.Err)
	switch {
	case f.Root && reason != nil && reason.Class == problem.Configuration && v.usesHelper():
		c.ok("sudo", sudoMessage(v.Host))
		c.fail("helper", reason.Message, reason.Hint)
		return
	case f.Root:
		c.ok("sudo", sudoMessage(v.Host))
	case reason != nil && reason.Class == problem.Configuration && v.usesHelper():
		c.fail("helper", reason.Message, reason.Hint) // sudo finds no helper to run
		return
	case reason != nil:
		c.fail("sudo", reason.Message, reason.Hint)
		return
	}
	c.helper(v)
	if reason == nil {
		reason = problemOf(f.SeenErr)
	}
	if reason != nil && reason.Class == problem.Configuration {
		reason = nil // a failure of the check configuration
	}
	c.passUnless("script", reason, "")
}

// sftp checks the file transfer, which failed with err if that is not nil.
func (c chart) sftp(err error) {
	reason := problemOf(err)
	if reason != nil && reason.Hint == "" {
		reason.Hint = "see Subsystem in sshd_config(5) on the host, and what the login shell's start-up files print"
	}
	c.passUnless("sftp", reason, "")
}

// helper checks the version of the installed helper.
func (c chart) helper(v Visit) {
	switch {
	case !v.usesHelper():
		c.ok("helper", "not used")
	case v.Found.OldHelper:
		c.failWithCommand("helper", "the helper on the host has another version than this program", "install-helper")
	default:
		c.ok("helper", "version "+host.HelperVersion())
	}
}

func (v Visit) usesHelper() bool { return v.Host.Helper != "" && v.Host.Sudo != inventory.SudoNone }

// sudoMessage says how the login user becomes root.
func sudoMessage(h inventory.Host) string {
	switch h.Sudo {
	case inventory.SudoNone:
		return "not used, the login user is root"
	case inventory.SudoPassword:
		return "with a password"
	}
	return "without a password"
}

// problemOf returns a copy of err as a problem, nil for nil.
func problemOf(err error) *problem.Error {
	if err == nil {
		return nil
	}
	p := *host.AsProblem(err)
	return &p
}
