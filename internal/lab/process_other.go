//go:build !linux

package lab

import (
	"io"
	"os/exec"
	"syscall"
	"time"
)

// Start refuses to run on this system, so none of these is called.

func inGroup(*exec.Cmd) {}

const stopSignal = syscall.SIGKILL

func signalGroup(*exec.Cmd, syscall.Signal) {}

func killMarked(string, time.Duration) bool { return true }

func reservePort() (address string, reservation io.Closer, err error) { return "", nil, nil }

func exitOf(*exec.Cmd) (status int, signal string) { return -1, "" }

func monotonic() time.Duration { return 0 }
