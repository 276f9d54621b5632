package rollout

import (
	"context"
	"net"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// countedHost is a connection that counts when it is closed.
type countedHost struct {
	Host
	open *int
}

func (c countedHost) Close() error {
	*c.open--
	return nil
}

func (c countedHost) DialContext(context.Context, string, string) (net.Conn, error) { return nil, nil }

// Two calls of Through with one host at the same time have a connection each, and both
// are closed in the end.
func TestThroughOneHostTwice(t *testing.T) {
	open := 0
	r := &Runner{Dial: func(context.Context, inventory.Host) (Host, error) {
		open++
		return countedHost{open: &open}, nil
	}}
	h := inventory.Host{Name: "a"}
	type dialer = func(context.Context, string, string) (net.Conn, error)
	err := r.Through(context.Background(), h, func(dialer) {
		if err := r.Through(context.Background(), h, func(dialer) {}); err != nil || open != 2 {
			t.Errorf("%v, %d connections", err, open)
		}
	})
	if err != nil || open != 1 {
		t.Errorf("%v, %d connections are kept", err, open)
	}
	if r.Close(); open != 0 {
		t.Errorf("%d connections are left", open)
	}
}
