package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Get reads the file name in dir (a relative path is relative to the login
// directory) over SFTP and writes it to w, in order; nothing is written to w
// after it has returned. The file must have exactly size bytes, whatever the
// server says of it: more than that is not taken. Up to 2 MiB are under way at
// once. An error of w is returned as it is.
func (c *Conn) Get(ctx context.Context, dir, name string, size int64, w io.Writer) error {
	into := &exactly{w: w, left: size}
	err := c.withSFTP(ctx, dir, name, func(s *sftpSession, failed func()) error {
		const what = "cannot read the file"
		file, err := s.client.Open(path.Join(dir, name))
		if err != nil {
			return c.sftpError(what, err, problem.Command, "the host reports a failure")
		}
		into.giveUp = failed // the library waits for the answers that are under way
		_, err = file.WriteTo(into)
		_ = file.Close() // nothing was written to it
		switch left := into.left; {
		case errors.Is(err, errTooLong):
			return &problem.Error{Class: problem.Command, Message: what + ": it is longer than the host reported"}
		case err != nil:
			return c.sftpError(what, err, problem.Command, "the host reports a failure")
		case left > 0:
			return &problem.Error{Class: problem.Command, Message: fmt.Sprintf("%s: it ends %d bytes early", what, left)}
		}
		return nil
	})
	// A request that outlives ctx finds it closed.
	return cmp.Or(into.close(), err)
}

// errTooLong stops a file that has more bytes than it should.
var errTooLong = errors.New("the file is longer than the host reported")

// exactly passes so many bytes on, until it is closed.
type exactly struct {
	giveUp func() // called at the first failure

	mu     sync.Mutex
	w      io.Writer
	left   int64
	failed error // of w
	closed bool
}

// Write passes p on, or fails; the first failure is the last call.
func (e *exactly) Write(p []byte) (n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return 0, io.ErrClosedPipe
	case int64(len(p)) > e.left:
		err = errTooLong
	default:
		n, err = e.w.Write(p)
		e.left -= int64(n)
		e.failed = err
	}
	if err != nil {
		e.closed = true
		e.giveUp()
	}
	return n, err
}

// close returns the error of w, if it had one.
func (e *exactly) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.failed
}
