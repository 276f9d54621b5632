// Package verify asks Azure about the certificates of a fleet: whether Entra
// accepts each for the application of its hosts, and whether the vault of these
// hosts has the agent's secret. Hosts that would ask the same share one question.
// It also registers certificates with applications, and retires them.
//
// It knows no terminal: a Verifier takes the connections to Azure and a function
// that shows a line, and fills in the questions that it is given.
package verify

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

const (
	// InputSecret is the name of the secret that an agent reads from its vault.
	InputSecret = azure.InputSecret
	// DefaultWait is how long Entra is given to know a new certificate: Microsoft
	// promises no time, and minutes have been seen.
	DefaultWait = 5 * time.Minute
	// parallel is how many questions are asked at the same time: most of the time of
	// each is spent waiting.
	parallel = 16
)

// Dial opens a connection to an address, as net.Dialer.DialContext does.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Verifier says how questions are asked. Its zero value asks the public cloud once
// about each certificate, from this machine.
type Verifier struct {
	Cloud     azurecloud.Settings
	Transport *http.Transport // to Azure; nil: http.DefaultTransport
	// Through calls do with a function that dials from a host; its error is that the
	// host itself is unreachable. nil: no question has a Via.
	Through func(ctx context.Context, h inventory.Host, do func(Dial)) error
	// Wait is how long all certificates together may take to become known to Entra;
	// 0: each is asked about once.
	Wait time.Duration
	// Say shows a line of progress. Many goroutines call it. nil: nothing is shown.
	Say func(line string)
	// Event receives "verify" with the number of answers and of questions. nil: they are not sent.
	Event func(rollout.Event)
}

// count announces how many of the questions are answered.
func (v *Verifier) count(answers, questions int) {
	if v.Event != nil && questions > 0 {
		v.Event(rollout.Event{Step: "verify", Done: int64(answers), Total: int64(questions)})
	}
}

func (v *Verifier) say(line string) {
	if v.Say != nil {
		v.Say(line)
	}
}

// Names returns the names of a cloud that an agent connects to, none for settings that are
// not valid.
func Names(settings azurecloud.Settings) host.Cloud {
	authority, suffix := azure.Names(settings)
	return host.Cloud{Authority: authority, VaultSuffix: suffix}
}
