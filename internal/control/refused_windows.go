package control

import (
	"errors"
	"syscall"
)

// refused reports whether nothing listens on a socket: its process has been killed.
func refused(err error) bool {
	const connectionRefused = syscall.Errno(10061) // WSAECONNREFUSED
	return errors.Is(err, connectionRefused)
}
