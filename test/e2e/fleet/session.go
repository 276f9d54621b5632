//go:build linux

package fleet

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stateDir has one directory for each running fleet, and the machine's settings
// before the first one. It is on /run because it is not valid after a
// reboot of the machine.
const stateDir = "/run/aoifleet-e2e"

// prefix begins the name of everything that a fleet creates on the machine.
const prefix = "aoifleet-e2e-"

//go:embed reap.sh
var reapScript []byte

// session is a fleet's registration on the machine: a name, a directory, and a lock
// that the reaper waits for.
type session struct {
	name   string
	dir    string
	lock   *os.File
	log    *os.File // the reaper's output
	reaper *exec.Cmd
}

// openSession registers a fleet, takes its lock and starts its reaper before
// anything else is created, so that nothing can be left.
func openSession(parent string) (*session, error) {
	suffix := make([]byte, 3)
	if _, err := rand.Read(suffix); err != nil {
		return nil, err
	}
	s := &session{name: fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), hex.EncodeToString(suffix))}
	s.dir = filepath.Join(parent, s.name)
	if err := borrowMachine(s.begin); err != nil {
		if s.reaper != nil {
			err = errors.Join(err, s.end())
		}
		return nil, err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *session) state() string { return filepath.Join(stateDir, s.name) }

// begin registers the fleet and starts its reaper. A process that dies between
// the two leaves only the state, which the next start removes.
func (s *session) begin() error {
	if err := s.register(); err != nil {
		return err
	}
	return s.startReaper()
}

// register writes the state for reap.sh. It runs under the lock on /run, and
// the state appears by one rename, so that it is never incomplete.
func (s *session) register() error {
	draft := filepath.Join(stateDir, "."+s.name)
	if err := os.Mkdir(draft, 0o700); err != nil {
		return err
	}
	for _, file := range []struct{ name, content string }{
		{"reap.sh", string(reapScript)},
		{"owner", strconv.Itoa(os.Getpid()) + "\n"},
		{"dir", s.dir + "\n"},
	} {
		if err := os.WriteFile(filepath.Join(draft, file.name), []byte(file.content), 0o600); err != nil {
			return err
		}
	}
	var err error
	if s.lock, err = takeLock(filepath.Join(draft, "lock")); err != nil {
		return err
	}
	if s.log, err = os.OpenFile(filepath.Join(draft, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, s.state())
}

// startReaper starts a process that waits for the lock, in a session of its own, so
// that it gets no signals of the terminal.
func (s *session) startReaper() error {
	reaper := reapCommand(context.Background(), filepath.Join(s.state(), "reap.sh"), s.state())
	reaper.Stdout, reaper.Stderr = s.log, s.log
	reaper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := reaper.Start(); err != nil {
		return errors.Join(err, s.lock.Close(), s.log.Close())
	}
	s.reaper = reaper
	return nil
}

// run executes a program that changes the machine for the fleet; its error
// includes the output. The program is in the fleet's cgroup, so that the reaper waits
// for it if this process dies in the meantime, and then cleans up.
func (s *session) run(ctx context.Context, name string, args ...string) error {
	dir, err := openCgroup(s.name, "tools")
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, tail(out))
	}
	return nil
}

// end releases the lock and waits until the reaper has finished.
func (s *session) end() error {
	defer s.log.Close()
	if err := s.lock.Close(); err != nil {
		return err
	}
	if err := s.reaper.Wait(); err != nil {
		output, _ := io.ReadAll(io.NewSectionReader(s.log, 0, 1<<16))
		return fmt.Errorf("take down fleet %s: %w: %s", s.name, err, output)
	}
	return nil
}

// reapCommand returns a command that runs a copy of reap.sh as soon as the fleet's
// lock is free; options of flock(1) change that.
func reapCommand(ctx context.Context, script, state string, options ...string) *exec.Cmd {
	args := append(options, filepath.Join(state, "lock"), "/bin/sh", script, state)
	cmd := exec.CommandContext(ctx, "flock", args...)
	cmd.Dir = "/"
	return cmd
}

// reap removes a fleet whose owner has ended; it skips a fleet that is running, or is
// being removed. It uses its own reap.sh, not the fleet's, so that an error in an
// earlier version does not persist.
func reap(ctx context.Context, state string) error {
	script, err := os.CreateTemp("", prefix+"*.sh")
	if err != nil {
		return err
	}
	defer os.Remove(script.Name())
	_, err = script.Write(reapScript)
	if err := errors.Join(err, script.Close()); err != nil {
		return err
	}
	const held = 200 // exit status of flock if another process has the lock
	out, err := reapCommand(ctx, script.Name(), state,
		"--nonblock", "--conflict-exit-code", strconv.Itoa(held)).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == held {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take down stale fleet %s: %w: %s", filepath.Base(state), err, tail(out))
	}
	return nil
}

// reapStale removes the leftovers of earlier runs: fleets whose owner died together
// with its reaper, and directories that survived a reboot of the machine.
func reapStale(ctx context.Context, parent string) error {
	states, err := filepath.Glob(filepath.Join(stateDir, prefix+"*"))
	if err != nil {
		return err
	}
	for _, state := range states {
		if err := reap(ctx, state); err != nil {
			return err
		}
	}
	return removeOrphans(parent)
}

// removeOrphans removes directories without a state: a state is created before its
// directory and removed after it.
func removeOrphans(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(stateDir, filepath.Base(dir))); err == nil {
			continue
		}
		if mounted, err := mountedBelow(dir); err != nil || mounted {
			return errors.Join(err, &Problem{Message: dir + " is left by an earlier run and has mounts", Hint: "umount --recursive, then remove it"})
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func mountedBelow(dir string) (bool, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	return strings.Contains(string(mounts), " "+dir+"/"), err
}

// takeLock opens a file or directory and takes an exclusive lock on it, waiting
// for it. The lock ends with the descriptor, which no child inherits.
func takeLock(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_RDWR
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		flags = os.O_RDONLY
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file, nil
}
