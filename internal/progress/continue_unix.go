//go:build unix

package progress

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyContinued sends to c when the program continues after a stop (^Z, then fg).
func notifyContinued(c chan<- os.Signal) { signal.Notify(c, syscall.SIGCONT) }
