//go:build unix

package control

import (
	"errors"
	"syscall"
)

// refused reports whether nothing listens on a socket: its process has been killed.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
