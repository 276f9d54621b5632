package rollout

import (
	"context"
	"net"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// counted is a connection of which only the end counts.
type counted struct {
	Host
	open *int
}

func (c counted) Close() error {
	*c.open--
	return nil
}

func (c counted) DialContext(context.Context, string, string) (net.Conn, error) { return nil, nil }

// Two at the same time go through one host: each has a connection of its own, and
// both are closed in the end.
func TestThroughOneHostTwice(t *testing.T) {
	open := 0
	r := &Runner{Dial: func(context.Context, inventory.Host) (Host, error) {
		open++
		return counted{open: &open}, nil
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
