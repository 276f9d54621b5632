package fleet

import (
	"context"
	"sync"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/secret"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// sudoPasswords has one host.Password for each source, so that hosts with the same source
// share what is known about its password.
type sudoPasswords struct {
	secrets *secret.Resolver
	mu      sync.Mutex
	known   map[sudoSource]*host.Password
}

// sudoSource identifies a password: the operator is asked once for each user, any
// other source gives one password for all users.
type sudoSource struct {
	secret secretsource.Source
	user   string
}

// of returns the password for sudo on a host; nil if it needs none.
func (p *sudoPasswords) of(h inventory.Host) *host.Password {
	if h.Sudo != inventory.SudoPassword {
		return nil
	}
	key := sudoSource{secret: h.SudoPassword}
	if h.SudoPassword.Ask {
		key.user = h.User
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[key] == nil {
		p.known[key] = host.NewPassword(func(ctx context.Context) ([]byte, error) {
			value, err := p.secrets.Get(ctx, h.SudoPassword, "sudo password of "+h.User)
			return []byte(value.Reveal()), err
		})
	}
	return p.known[key]
}
