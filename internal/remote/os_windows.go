package remote

import (
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/windows"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// startGroup fails: Windows has no /bin/sh.
func startGroup(*exec.Cmd) error {
	return &problem.Error{Class: problem.Configuration, Message: "a ProxyCommand cannot run on this system", Hint: "use a jump host: jump in the inventory, or ProxyJump"}
}

func endGroup(*exec.Cmd, bool) {}

// dialAgent connects to ssh-agent: the service of Windows has a named pipe, others a socket. The
// server of a pipe, which may be any user's, learns who this user is and can't act as it.
func dialAgent(ctx context.Context, path string) (io.ReadWriteCloser, error) {
	pipe := strings.ReplaceAll(path, "/", `\`)
	if !strings.HasPrefix(strings.ToLower(pipe), `\\.\pipe\`) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	name, err := windows.UTF16PtrFromString(pipe)
	if err != nil {
		return nil, err
	}
	handle, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_OVERLAPPED|windows.SECURITY_SQOS_PRESENT|windows.SECURITY_IDENTIFICATION, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: pipe, Err: err}
	}
	return os.NewFile(uintptr(handle), pipe), nil
}
