//go:build linux

package fleet

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Inside runs do with its thread in the fleet's network namespace. A socket
// that do opens itself, not in another goroutine, stays in the namespace.
func (f *Fleet) Inside(do func() error) error {
	there, err := os.Open("/run/netns/" + f.Netns)
	if err != nil {
		return err
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = do()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, ends with its goroutine and is not reused.
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// Dial connects to the host's sshd.
func (h *Host) Dial(ctx context.Context) (net.Conn, error) {
	return h.fleet.Dial(ctx, net.JoinHostPort(h.Addr, strconv.Itoa(h.Port)))
}

// Dial opens a TCP connection inside the namespace. The address must be numeric:
// names would be resolved outside.
func (f *Fleet) Dial(ctx context.Context, address string) (net.Conn, error) {
	var conn net.Conn
	err := f.Inside(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// Listen accepts TCP connections inside the namespace, for a forwarder in front of a
// host. The caller closes the listener.
func (f *Fleet) Listen(ctx context.Context, address string) (net.Listener, error) {
	var listener net.Listener
	err := f.Inside(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
		return err
	})
	return listener, err
}
