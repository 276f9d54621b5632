package verify

import (
	"sync"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// outages remembers which services give no answer, so that an outage costs its time
// once: a question to a service that gave none is not asked, nor is one to another
// vault where no vault has answered yet.
type outages struct {
	mu     sync.Mutex
	silent map[service]*azure.Error // which give no answer, and why
	heard  map[bool]bool            // some vault has answered, by service.viaHost
}

// service is one that is asked, and from where: Entra where vault is "".
type service struct {
	vault   string
	viaHost bool
}

// anyVault stands for all vaults: no vault has a star in its name.
const anyVault = "*"

func newOutages() *outages {
	return &outages{silent: map[service]*azure.Error{}, heard: map[bool]bool{}}
}

// expected returns why a question need not be asked, nil if it must be.
func (o *outages) expected(q *Question) *azure.Error {
	o.mu.Lock()
	defer o.mu.Unlock()
	viaHost := q.Via != nil
	if e := o.silent[service{"", viaHost}]; e != nil || q.Vault == "" {
		return e
	}
	if e := o.silent[service{q.Vault, viaHost}]; e != nil {
		return e
	}
	if e := o.silent[service{anyVault, viaHost}]; e != nil && !o.heard[viaHost] {
		return azure.NewError(problem.Unreachable, "", "vault "+display.Sanitise(q.Vault, 200)+" was not asked: "+e.Message, e.Hint)
	}
	return nil
}

// note remembers what an asked question says about the services. A host that is
// unreachable says nothing about Azure, and a vault that does not exist nothing
// about the others.
func (o *outages) note(q *Question) {
	o.mu.Lock()
	defer o.mu.Unlock()
	viaHost, vaultAsked := q.Via != nil, q.Result.Accepted && q.Vault != ""
	switch {
	case vaultAsked && !noAnswer(q.Err):
		o.heard[viaHost] = true
	case q.Err == nil || q.Err.Class != problem.Unreachable || q.viaFailed:
	case vaultAsked:
		o.silent[service{q.Vault, viaHost}] = q.Err
		if !q.Err.Lasting {
			o.silent[service{anyVault, viaHost}] = q.Err
		}
	default:
		o.silent[service{"", viaHost}] = q.Err
	}
}

// noAnswer reports whether Azure itself said nothing, neither yes nor no.
func noAnswer(e *azure.Error) bool {
	return e != nil && (e.Class == problem.Unreachable || e.Class == problem.Unexpected)
}
