//go:build !unix

package remote

import (
	"os/exec"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// startGroup fails: these systems have no /bin/sh.
func startGroup(*exec.Cmd) error {
	return &problem.Error{Class: problem.Configuration, Message: "a ProxyCommand cannot run on this system", Hint: "use a jump host: jump in the inventory, or ProxyJump"}
}

func endGroup(*exec.Cmd, bool) {}
