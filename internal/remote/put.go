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

// cleanupTimeout is how long Put may take after a failure to remove what it
// created.
const cleanupTimeout = 3 * time.Second

const noSpace = "the host reports a failure, probably no space left or a quota"

// Put creates the private directory dir (mode 0700) and in it the file name (mode
// 0600) with data. dir must not exist; a relative one is relative to the login
// directory. On an error Put removes what it created, for at most three seconds
// after ctx has ended. With an open SFTP session it takes four round trips up to
// 32 KiB. If SFTP does not work, a command replaces it, which allows plain names
// only. Without permission to create dir the error is fs.ErrPermission.
func (c *Conn) Put(ctx context.Context, dir, name string, data []byte) error {
	err := c.withSFTP(ctx, dir, name, func(s *sftpSession, failed func()) error {
		p := &put{session: s, dir: dir, file: path.Join(dir, name)}
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

// Remove removes the file name in dir, and dir. A missing file or directory is no
// error; another file in dir is.
func (c *Conn) Remove(ctx context.Context, dir, name string) error {
	err := c.withSFTP(ctx, dir, name, func(s *sftpSession, failed func()) error {
		fileErr, dirErr := s.inOrder(
			func() error { return s.client.Remove(path.Join(dir, name)) },
			func() error { return s.client.RemoveDirectory(dir) })
		if fileErr != nil && !errors.Is(fileErr, os.ErrNotExist) {
			return s.conn.sftpError("cannot remove the file", fileErr, problem.Command, "the host reports a failure")
		}
		if dirErr != nil && !errors.Is(dirErr, os.ErrNotExist) {
			return s.conn.sftpError("cannot remove the directory", dirErr, problem.Command, "the host reports a failure, probably the directory is not empty")
		}
		return nil
	})
	if errors.Is(err, errNoSFTP) {
		return c.removeByExec(ctx, dir, name)
	}
	return err
}

// withSFTP runs do with exclusive use of the SFTP session. SFTP requests have no
// context: after ctx has ended, or do has called failed, do has cleanupTimeout
// left; then the session is abandoned.
func (c *Conn) withSFTP(ctx context.Context, dir, name string, do func(s *sftpSession, failed func()) error) error {
	if err := checkNames(dir, name); err != nil {
		return err
	}
	s, err := c.openedSFTP(ctx)
	if err != nil {
		return err
	}
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return contextError(ctx, "copy")
	}
	c = s.conn
	failing := make(chan struct{})
	done := make(chan error, 1)
	work := func() {
		defer func() { <-s.busy }()
		done <- do(s, func() { close(failing) })
	}
	if !c.spawn(work) {
		<-s.busy
		return closedError()
	}
	select {
	case err := <-done:
		return err
	case <-failing:
	case <-ctx.Done():
	}
	return c.awaitCleanup(ctx, s, done)
}

// awaitCleanup waits up to cleanupTimeout for do to return.
func (c *Conn) awaitCleanup(ctx context.Context, s *sftpSession, done <-chan error) error {
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

// put is one call of Put.
type put struct {
	session *sftpSession
	dir     string
	file    string
	created bool // whether dir was created
	handle  *sftp.File
}

// store stores data in four round trips. The directory is private before the file
// is created, because a process that opens the file while it is readable can read
// what is written later. The library's mkdir and open send no mode, so the
// server's umask applies until the chmod.
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
		p.created = true
		return nil
	}
	const what = "cannot create the private directory"
	if _, statErr := p.session.client.Lstat(p.dir); statErr == nil {
		return &problem.Error{Class: problem.Command, Message: what + ": it already exists"}
	}
	return p.session.conn.sftpError(what, err, problem.Disk, noSpace)
}

// create makes the directory private and creates the file, in one round trip and in
// this order. Nothing has been written yet, so it may check both answers at the
// end.
func (p *put) create() error {
	modeErr, openErr := p.session.inOrder(
		func() error { return p.session.client.Chmod(p.dir, 0o700) },
		func() (err error) {
			p.handle, err = p.session.client.OpenFile(p.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
			return err
		})
	switch {
	case modeErr != nil:
		return p.session.conn.sftpError("cannot make the directory private", modeErr, problem.Command, "the host reports a failure")
	case openErr != nil:
		return p.session.conn.sftpError("cannot create the file", openErr, problem.Disk, noSpace)
	case p.handle == nil: // the library accepts a status "ok" as the answer to an open
		return &problem.Error{Class: problem.Command, Message: "cannot create the file: the server broke the SFTP protocol"}
	}
	return nil
}

// write sets the file's mode and then writes the bytes, in one round trip.
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
		return p.session.conn.sftpError("cannot make the file private", modeErr, problem.Command, "the host reports a failure")
	case writeErr != nil:
		return p.session.conn.sftpError("cannot write the file", writeErr, problem.Disk, noSpace)
	case written != len(data):
		return p.session.conn.sftpError("cannot write the file", io.ErrShortWrite, problem.Disk, noSpace)
	}
	return nil
}

func (p *put) close() error {
	handle := p.handle
	p.handle = nil
	if err := handle.Close(); err != nil {
		return p.session.conn.sftpError("cannot close the file", err, problem.Disk, noSpace)
	}
	return nil
}

// clean removes what was created. It ignores errors: the first error is reported.
func (p *put) clean() {
	if !p.created {
		return
	}
	if p.handle != nil {
		_ = p.handle.Close()
	}
	_, _ = p.session.inOrder(
		func() error { return p.session.client.Remove(p.file) },
		func() error { return p.session.client.RemoveDirectory(p.dir) })
}

// checkNames rejects names that could refer to a place outside dir. Both names are
// the program's own, so the error is an internal one.
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
