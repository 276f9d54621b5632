package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// reservePort reserves a free port of loopback. While the reservation is
// open the kernel assigns the port to no other process, but the lab can listen on it
// with SO_REUSEADDR, which net.Listen sets (socket(7)). Without the reservation
// another process could get the port of a machine that is off.
func reservePort() (address string, reservation io.Closer, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("no port: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "port")
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	)
	bound, nameErr := syscall.Getsockname(fd)
	in4, ok := bound.(*syscall.SockaddrInet4)
	if err = errors.Join(err, nameErr); err != nil || !ok {
		return "", nil, errors.Join(fmt.Errorf("no port: %w", err), socket.Close())
	}
	return fmt.Sprintf("%s:%d", loopback, in4.Port), socket, nil
}
