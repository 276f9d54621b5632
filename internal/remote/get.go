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

// Get reads the file name in dir over SFTP and writes it to w, in order. A
// relative dir is relative to the login directory. The file must have exactly
// size bytes: a longer one is an error, and no more than size bytes are written.
// Up to 2 MiB are requested at once. After Get has returned, nothing is written to
// w. An error of w is returned unchanged.
func (c *Conn) Get(ctx context.Context, dir, name string, size int64, w io.Writer) error {
	into := &exactWriter{w: w, left: size}
	err := c.withSFTP(ctx, dir, name, func(s *sftpSession, failed func()) error {
		const what = "cannot read the file"
		file, err := s.client.Open(path.Join(dir, name))
		if err != nil {
			return s.conn.sftpError(what, err, problem.Command, "the host reports a failure")
		}
		into.onFailure = failed // the library still waits for outstanding answers
		_, err = file.WriteTo(into)
		_ = file.Close() // nothing was written to it
		switch left := into.left; {
		case errors.Is(err, errTooLong):
			return &problem.Error{Class: problem.Command, Message: what + ": it is longer than the host reported"}
		case err != nil:
			return s.conn.sftpError(what, err, problem.Command, "the host reports a failure")
		case left > 0:
			return &problem.Error{Class: problem.Command, Message: fmt.Sprintf("%s: it ends %d bytes early", what, left)}
		}
		return nil
	})
	// After close, a request that outlives ctx cannot write to w.
	return cmp.Or(into.close(), err)
}

// errTooLong is the error of a file with more bytes than expected.
var errTooLong = errors.New("the file is longer than the host reported")

// exactWriter accepts left bytes until it is closed.
type exactWriter struct {
	onFailure func() // called at the first failure

	mu     sync.Mutex
	w      io.Writer
	left   int64
	failed error // of w
	closed bool
}

// Write passes p on to w. After the first failure the writer is closed.
func (e *exactWriter) Write(p []byte) (n int, err error) {
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
		e.onFailure()
	}
	return n, err
}

// close closes the writer and returns the error of w, if any.
func (e *exactWriter) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.failed
}
