package fleet

import (
	"net/http"

	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/sshconfig"
)

// Caller is what a procedure needs from its caller, which may be a command on a terminal or
// an engine without one: values of the process, and functions. The functions may be called
// from many goroutines.
type Caller struct {
	Command string // the command that runs, as the journal records it: "rotate"
	Version string // the program's version, as journals and saved plans record it
	Owner   string // USER@HOST, recorded in every trace of a run
	User    string // login name on the workstation
	Home    string // home directory; "": unknown
	SSH     sshconfig.Options
	Getenv  func(name string) string
	// Azure makes the connections to Azure; nil: http.DefaultTransport.
	Azure *http.Transport
	// ReadSecret prints a prompt and returns the line that the operator types without
	// echo. nil: there is no terminal, and sources "ask" are an error.
	ReadSecret func(prompt string) (string, error)
	// Say prints one line for the operator.
	Say func(line string)
	// Event receives the events on the hosts as they happen.
	Event func(rollout.Event)
	// Stop does what the first signal does: the procedure's context ends.
	Stop func()
	// Contact is called once before hosts are contacted, with their number; 0: an engine does. From
	// then on the procedure watches its context.
	Contact func(hosts int)
}

// Request selects hosts and what is read before they are contacted.
type Request struct {
	Inventory   string // the inventory file; "": an error
	Limit       string // selector; "": all hosts
	User        string // login user for all hosts; "": the inventory's
	Parallel    int    // hosts at once, instead of the inventory's; 0: the inventory's
	Certificate string // source for all hosts; "": the inventory's
	// Certificates is what the procedure needs of the hosts' certificates.
	Certificates  Certificates
	Configuration Configuration // how the agents' configurations change; zero value: they stay
	Secret        *NewSecret    // a secret to set; nil: none
	NoLogin       bool          // no host is logged in to, so passwords are not needed
	Offline       bool          // nothing is contacted and no program started: there are no routes
	// Engine is what reaches the hosts instead of this process, and carries out a rotation; nil: none.
	Engine *engine.Client
}
