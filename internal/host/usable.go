package host

import (
	"fmt"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// LeastSpace is the free space that a host needs below /var/lib, in bytes.
const LeastSpace = 1 << 20

// Problem returns why the file can't or must not be replaced; nil: it can.
func (f File) Problem() *problem.Error {
	switch {
	case f.Kind == "nodir":
		return &problem.Error{Class: problem.Configuration, Message: "the folder of " + f.shown() + " does not exist",
			Hint: "create it, or correct cert_path in the agent's configuration"}
	case f.Kind == "moved":
		return &problem.Error{Class: problem.Drift,
			Message: "the folder of " + f.shown() + " was replaced while it was checked",
			Hint:    "run this again; if it happens again, find out what replaces it"}
	case f.Kind != "file" && f.Kind != "missing":
		return &problem.Error{Class: problem.Configuration, Message: f.shown() + " is not a regular file"}
	case f.Unsafe != "":
		return &problem.Error{Class: problem.Configuration,
			Message: "users other than root and the file's owner can write the folder " + display.Sanitise(f.Unsafe, 4096),
			Hint:    "chmod go-w " + display.Sanitise(f.Unsafe, 4096)}
	case f.Untrusted != "":
		return &problem.Error{Class: problem.Configuration, Message: f.Untrusted,
			Hint: "name the file in agent.certificate_path, or make root the owner of the configuration"}
	case f.ReadOnly:
		return &problem.Error{Class: problem.Disk,
			Message: "the folder of " + display.Sanitise(f.Real, 4096) + " is read-only"}
	}
	return nil
}

func (f File) shown() string { return display.Sanitise(f.Path, 4096) }

// SpaceProblem returns a problem if there is too little free space, and nil otherwise.
func (o *Observation) SpaceProblem() *problem.Error {
	if o.Space >= LeastSpace {
		return nil
	}
	return &problem.Error{Class: problem.Disk, Message: fmt.Sprintf("only %d kB are free below /var/lib", o.Space>>10),
		Hint: "free at least 1 MB"}
}

// LoadProblem returns why systemd has not loaded the unit; nil: it has.
func (u Unit) LoadProblem(name string) *problem.Error {
	switch u.Load {
	case "loaded":
		return nil
	case "not-found", "":
		return &problem.Error{Class: problem.AgentNotRunning, Message: name + " is not known to systemd",
			Hint: "is the agent installed? set agent.unit in the inventory"}
	}
	return &problem.Error{Class: problem.AgentNotRunning, Message: name + " is " + u.Load,
		Hint: "systemctl status " + name}
}
