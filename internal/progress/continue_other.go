//go:build !unix

package progress

import "os"

// notifyContinued does nothing: a program is not stopped.
func notifyContinued(chan<- os.Signal) {}
