package problem

// Class is the kind of an Error. The values are part of the JSON contract: they may
// be added to, never renamed.
type Class string

// Before anything is contacted.
const (
	Usage       Class = "usage"       // the command line, or a file that it names
	Inventory   Class = "inventory"   // the inventory, or a selector
	Certificate Class = "certificate" // a certificate is missing, unusable or not accepted
)

// Of the connection to a host.
const (
	Unreachable    Class = "unreachable"      // no connection, or it was lost; of Azure also: throttled, an outage
	Authentication Class = "authentication"   // the server refused every key, or there was none to offer
	HostKeyUnknown Class = "host_key_unknown" // nothing vouches for the key that the server sent
	HostKeyChanged Class = "host_key_changed" // known_hosts has another key for the address, or the key is revoked
)

// Of a host that was reached.
const (
	Sudo            Class = "sudo"              // the login user can't become root
	Command         Class = "command"           // the host answered, and a command or request failed
	Timeout         Class = "timeout"           // the caller's context ended first: deadline or cancellation
	Disk            Class = "disk"              // a file could not be stored, on the host or here
	Drift           Class = "drift"             // the host is not as it was when the plan was made
	Locked          Class = "locked"            // another run is at work on the host
	AgentNotRunning Class = "agent_not_running" // the agent's unit is unknown, stopped or failed
	Unhealthy       Class = "unhealthy"         // the agent runs and does not work
	Configuration   Class = "configuration"     // what is configured can't be done here
)

// Of Azure.
const (
	Refused     Class = "refused"     // Entra does not accept the certificate or the application
	Forbidden   Class = "forbidden"   // Key Vault or Graph answered that this may not be done
	Secret      Class = "secret"      // the secret is missing, disabled, expired or not valid yet
	Unsettled   Class = "unsettled"   // an application's certificates are changed by others too, or a change is not shown yet
	Unexpected  Class = "unexpected"  // an answer that is not the service's: another server's, or cut off
	Interrupted Class = "interrupted" // the caller's context ended first
)

// Internal is a fault of this program or of the workstation.
const Internal Class = "internal"

// exitCodes is the exit code of a command that an error of each class ends. Where
// hosts have errors of their own, their outcomes decide instead.
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

// ExitCode returns the exit code of a command that an error of the class ends, 1 for
// a class that is not known.
func (c Class) ExitCode() int {
	if code, known := exitCodes[c]; known {
		return code
	}
	return ExitInternal
}

// The exit codes; docs/reference.md is for their users.
const (
	ExitOK          = 0
	ExitInternal    = 1
	ExitUsage       = 2 // usage, inventory or certificate wrong; nothing was contacted
	ExitChanges     = 3 // plan --detailed-exitcode: there is something to do
	ExitUnreachable = 4
	ExitRefused     = 5 // also: a check of status failed, or Azure said no
	ExitRolledBack  = 6
	ExitFailed      = 7 // failed or unknown
	ExitStopped     = 8 // by the failure budget
	ExitEnded       = 9 // on purpose, before the end
	ExitInterrupted = 130
	ExitTerminated  = 143
)
