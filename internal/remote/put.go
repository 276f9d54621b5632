package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// cleanupTimeout is how long Put goes on after a failure to remove what it
// has made.
const cleanupTimeout = 3 * time.Second

const noSpace = "the host reports a failure, probably no space left or a quota"

// Put makes the private directory dir (mode 0700, it must not exist; a
// relative path is relative to the login directory) and in it the file name
// (mode 0600) with data. On any error it removes what it made, for at most
// three seconds more than ctx allows. With the SFTP session open it costs four
// round trips up to 32 KiB. Where the machine has no SFTP that works, a command
// does it, which takes plain names only. Without the right to make dir the error
// is fs.ErrPermission.
func (c *Conn) Put(ctx context.Context, dir, name string, data []byte) error {
	err := c.withSFTP(ctx, dir, name, func(s *sftpSession, failed func()) error {
		p := &put{conn: c, session: s, dir: dir, file: path.Join(dir, name)}
		err := p.store(ctx, data)
		if err != nil {
			failed()
			p.clean()
		}
		return err
	})
	if errors.Is(err, errNoSFTP) {
		return c.putByExec(ctx, dir, name, data)
	}
	return err
}

// Remove removes the file name in dir, and dir. That either is missing is no
// error; anything else in dir is.
func (c *Conn) Remove(ctx context.Context, dir, name string) error {
	err := c.withSFTP(ctx, dir, name, func(s *sftpSession, failed func()) error {
		fileErr, dirErr := s.inOrder(
			func() error { return s.client.Remove(path.Join(dir, name)) },
			func() error { return s.client.RemoveDirectory(dir) })
		if fileErr != nil && !errors.Is(fileErr, os.ErrNotExist) {
			return c.sftpError("cannot remove the file", fileErr, problem.Command, "the host reports a failure")
		}
		if dirErr != nil && !errors.Is(dirErr, os.ErrNotExist) {
			return c.sftpError("cannot remove the directory", dirErr, problem.Command, "the host reports a failure, probably the directory is not empty")
		}
		return nil
	})
	if errors.Is(err, errNoSFTP) {
		return c.removeByExec(ctx, dir, name)
	}
	return err
}

// withSFTP runs do, alone on the SFTP session. SFTP requests know no context:
// after its end, or after do has said that it failed, do has cleanupTimeout
// left; then the session is given up.
func (c *Conn) withSFTP(ctx context.Context, dir, name string, do func(s *sftpSession, failed func()) error) error {
	if err := checkNames(dir, name); err != nil {
		return err
	}
	s, err := c.openedSFTP(ctx)
	if err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return contextError(ctx, "copy")
	}
	failing := make(chan struct{})
	done := make(chan error, 1)
	work := func() {
		defer func() { <-s.turn }()
		done <- do(s, func() { close(failing) })
	}
	if !c.spawn(work) {
		<-s.turn
		return closedError()
	}
	select {
	case err := <-done:
		return err
	case <-failing:
	case <-ctx.Done():
	}
	return c.settle(ctx, s, done)
}

// settle waits for the clean-up, but not for long.
func (c *Conn) settle(ctx context.Context, s *sftpSession, done <-chan error) error {
	timer := time.NewTimer(c.cleanupTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	c.abandon(s.close, s.ended)
	if ctx.Err() != nil {
		return contextError(ctx, "copy")
	}
	return &problem.Error{Class: problem.Timeout, Message: "copy failed, and the host did not answer the clean-up"}
}

// put is one Put at work.
type put struct {
	conn    *Conn
	session *sftpSession
	dir     string
	file    string
	made    bool // dir is ours
	handle  *sftp.File
}

// store does the work in four turns. The directory is private before the file
// is made, because who opens a file while he may can read what is written to
// it later; and the library's mkdir and open send no mode of their own, so the
// server's umask decides until the chmod.
func (p *put) store(ctx context.Context, data []byte) error {
	steps := []func() error{p.mkdir, p.create, func() error { return p.write(data) }, p.close}
	for _, step := range steps {
		if ctx.Err() != nil {
			return contextError(ctx, "copy")
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (p *put) mkdir() error {
	err := p.session.client.Mkdir(p.dir)
	if err == nil {
		p.made = true
		return nil
	}
	const what = "cannot create the private directory"
	if _, statErr := p.session.client.Lstat(p.dir); statErr == nil {
		return &problem.Error{Class: problem.Command, Message: what + ": it already exists"}
	}
	return p.conn.sftpError(what, err, problem.Disk, noSpace)
}

// create makes the directory private and the file in it, in this order in one
// turn; nothing has been written yet, so it is enough to look at both answers.
func (p *put) create() error {
	modeErr, openErr := p.session.inOrder(
		func() error { return p.session.client.Chmod(p.dir, 0o700) },
		func() (err error) {
			p.handle, err = p.session.client.OpenFile(p.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
			return err
		})
	switch {
	case modeErr != nil:
		return p.conn.sftpError("cannot make the directory private", modeErr, problem.Command, "the host reports a failure")
	case openErr != nil:
		return p.conn.sftpError("cannot create the file", openErr, problem.Disk, noSpace)
	case p.handle == nil: // the library trusts a server that answers an open with a plain "ok"
		return &problem.Error{Class: problem.Command, Message: "cannot create the file: the server broke the SFTP protocol"}
	}
	return nil
}

// write sends the file's mode and behind it the bytes, in one turn.
func (p *put) write(data []byte) error {
	written := 0
	modeErr, writeErr := p.session.inOrder(
		func() error { return p.handle.Chmod(0o600) },
		func() (err error) {
			written, err = p.handle.WriteAt(data, 0)
			return err
		})
	switch {
	case modeErr != nil:
		return p.conn.sftpError("cannot make the file private", modeErr, problem.Command, "the host reports a failure")
	case writeErr != nil:
		return p.conn.sftpError("cannot write the file", writeErr, problem.Disk, noSpace)
	case written != len(data):
		return p.conn.sftpError("cannot write the file", io.ErrShortWrite, problem.Disk, noSpace)
	}
	return nil
}

func (p *put) close() error {
	handle := p.handle
	p.handle = nil
	if err := handle.Close(); err != nil {
		return p.conn.sftpError("cannot close the file", err, problem.Disk, noSpace)
	}
	return nil
}

// clean removes what was made. Its own failures add nothing to the error that
// led here.
func (p *put) clean() {
	if !p.made {
		return
	}
	if p.handle != nil {
		_ = p.handle.Close()
	}
	_, _ = p.session.inOrder(
		func() error { return p.session.client.Remove(p.file) },
		func() error { return p.session.client.RemoveDirectory(p.dir) })
}

// checkNames refuses what could leave dir. Both names are the program's own,
// so a bad one is a mistake in the program.
func checkNames(dir, name string) error {
	bad := func(element string) bool {
		return element == "" || element == "." || element == ".." || strings.Contains(element, "\x00")
	}
	elements := strings.Split(strings.TrimPrefix(dir, "/"), "/")
	for _, element := range append(elements, name) {
		if bad(element) {
			return &problem.Error{Class: problem.Internal, Message: "not a usable directory and file name"}
		}
	}
	if strings.Contains(name, "/") {
		return &problem.Error{Class: problem.Internal, Message: "a file name cannot contain a slash"}
	}
	return nil
}
