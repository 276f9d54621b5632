package problem

import "slices"

// Class is the kind of an Error. The values are part of the JSON contract: new ones may
// be added, none may be renamed.
type Class string

// Classes of errors before anything is contacted.
const (
	Usage       Class = "usage"       // the command line or a file that it names is wrong
	Inventory   Class = "inventory"   // the inventory or a selector is wrong
	Certificate Class = "certificate" // a certificate is missing, unusable or not accepted
)

// Classes of errors of the connection to a host.
const (
	Unreachable    Class = "unreachable"      // no connection, or it was lost; for Azure also throttling and outages
	Authentication Class = "authentication"   // the server refused every key, or there was none to offer
	HostKeyUnknown Class = "host_key_unknown" // neither known_hosts nor a fingerprint has the server's key
	HostKeyChanged Class = "host_key_changed" // known_hosts has another key for the address, or the key is revoked
)

// Classes of errors on a host that was reached.
const (
	Sudo            Class = "sudo"              // the login user can't become root
	Command         Class = "command"           // the host answered, and a command or request failed
	Timeout         Class = "timeout"           // the deadline of the caller's context passed first
	Disk            Class = "disk"              // a file could not be stored, on the host or the workstation
	Drift           Class = "drift"             // the host has changed since the plan was made
	Locked          Class = "locked"            // another run holds the lock on the host
	AgentNotRunning Class = "agent_not_running" // the agent's unit is unknown, stopped or failed
	Unhealthy       Class = "unhealthy"         // the agent runs but does not work
	Configuration   Class = "configuration"     // the configuration can't be applied here
)

// Classes of errors from Azure.
const (
	Refused     Class = "refused"     // Entra does not accept the certificate or the application
	Forbidden   Class = "forbidden"   // Key Vault or Graph denied the request
	Secret      Class = "secret"      // the secret is missing, disabled, expired or not valid yet
	Unsettled   Class = "unsettled"   // another change of the application's certificates is in progress, or the last one is not visible yet
	Unexpected  Class = "unexpected"  // the answer is not from the service, or is truncated
	Interrupted Class = "interrupted" // the operator ended it; also of hosts
)

// Internal is the class of a fault in this program or on the workstation.
const Internal Class = "internal"

// exitCodes has the exit code of a command that fails with an error of each class. If the
// errors are those of hosts, their outcomes decide instead.
var exitCodes = map[Class]int{
	Usage:         ExitUsage,
	Inventory:     ExitUsage,
	Certificate:   ExitUsage,
	Configuration: ExitUsage,

	Unreachable:    ExitUnreachable,
	Authentication: ExitUnreachable,
	HostKeyUnknown: ExitUnreachable,
	HostKeyChanged: ExitUnreachable,
	Unexpected:     ExitUnreachable,

	Refused:         ExitRefused,
	Forbidden:       ExitRefused,
	Secret:          ExitRefused,
	Unsettled:       ExitRefused,
	Sudo:            ExitRefused,
	Command:         ExitRefused,
	Timeout:         ExitRefused,
	Disk:            ExitRefused,
	Drift:           ExitRefused,
	Locked:          ExitRefused,
	AgentNotRunning: ExitRefused,
	Unhealthy:       ExitRefused,

	Interrupted: ExitInterrupted,
	Internal:    ExitInternal,
}

// ExitCode returns the exit code of a command that fails with an error of the class,
// ExitInternal for an unknown class.
func (c Class) ExitCode() int {
	if code, known := exitCodes[c]; known {
		return code
	}
	return ExitInternal
}

// The exit codes of the program. docs/reference.md describes them for users.
const (
	ExitOK          = 0
	ExitInternal    = 1
	ExitUsage       = 2 // usage, inventory or certificate; nothing was contacted
	ExitChanges     = 3 // plan --detailed-exitcode: there is something to do
	ExitUnreachable = 4
	ExitRefused     = 5 // also: a check of status failed, or Azure refused
	ExitRolledBack  = 6
	ExitFailed      = 7 // failed or unknown
	ExitStopped     = 8 // by the failure budget
	ExitEnded       = 9 // ended early on purpose, as by --until
	ExitInterrupted = 130
	ExitTerminated  = 143
)

// worst has the exit codes of runs, the worst first.
var worst = []int{ExitInternal, ExitFailed, ExitInterrupted, ExitTerminated, ExitRolledBack, ExitStopped, ExitEnded, ExitUnreachable, ExitRefused}

// Worst returns the worst of some exit codes, ExitOK if there are none.
func Worst(codes ...int) int {
	for _, code := range worst {
		if slices.Contains(codes, code) {
			return code
		}
	}
	return ExitOK
}
