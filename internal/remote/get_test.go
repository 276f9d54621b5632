package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// More packet types and codes of draft-ietf-secsh-filexfer-02.
const (
	fxRead, fxStat    = 5, 17
	fxData, fxAttrs   = 103, 105
	statusEOF         = 1
	attrSize, attrACL = 1, 4
)

func TestGet(t *testing.T) {
	for _, size := range []int{1, 32 << 10, 5<<20 + 7} {
		s := newFakeServer(t)
		c := dial(t, newDialer(t, Options{}), s.start().target)
		data := bytes.Repeat([]byte("zip\x00\xff"), size/5+1)[:size]
		if err := os.Mkdir(filepath.Join(s.home, "dir"), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(s.home, "dir", "file"), data)
		var got bytes.Buffer
		if err := c.Get(testContext(t), "dir", "file", int64(size), &got); err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes: %v, %d written", size, err, got.Len())
		}
		for _, expected := range []int{size - 1, size + 1} {
			got.Reset()
			err := c.Get(testContext(t), "dir", "file", int64(expected), &got)
			wantError(t, err, problem.Command, "cannot read the file: it ")
			if got.Len() > expected {
				t.Errorf("%d bytes written of %d", got.Len(), expected)
			}
		}
		wantError(t, c.Get(testContext(t), "dir", "other", 1, io.Discard), problem.Command, "no such file")
		wantError(t, c.Get(testContext(t), "..", "other", 1, io.Discard), problem.Internal, "")
	}
}

// lyingSFTP is an SFTP server that reports size for its file, and answers each read
// with the result of data; nil: it does not answer.
type lyingSFTP struct {
	size uint64
	data func(offset uint64) []byte
}

func (l lyingSFTP) serve(ch ssh.Channel) {
	if kind, _, err := readPacket(ch); err != nil || kind != fxInit {
		return
	}
	sendPacket(ch, fxVersion, []byte{0, 0, 0, 3})
	for {
		kind, body, err := readPacket(ch)
		if err != nil {
			return
		}
		id := body[:4]
		switch kind {
		case fxOpen:
			sendPacket(ch, fxHandle, appendString(slices.Clone(id), "handle"))
		case fxStat, fxLstat:
			attrs := binary.BigEndian.AppendUint32(slices.Clone(id), attrSize|attrACL)
			attrs = binary.BigEndian.AppendUint64(attrs, l.size)
			sendPacket(ch, fxAttrs, binary.BigEndian.AppendUint32(attrs, 0o100600))
		case fxRead:
			handle := 4 + binary.BigEndian.Uint32(body[4:])
			data := l.data(binary.BigEndian.Uint64(body[4+handle:]))
			switch {
			case data == nil:
			case len(data) == 0:
				sendStatus(ch, id, statusEOF)
			default:
				sendPacket(ch, fxData, appendString(slices.Clone(id), string(data)))
			}
		default:
			sendStatus(ch, id, statusOK)
		}
	}
}

// TestGetWrongSize checks that Get returns, and writes no more than the expected
// size, whatever size the server reports.
func TestGetWrongSize(t *testing.T) {
	const expected = 100_000
	chunk := make([]byte, 32<<10)
	endless := func(uint64) []byte { return chunk }
	upTo := func(end uint64) func(uint64) []byte {
		return func(offset uint64) []byte {
			if offset >= end {
				return []byte{}
			}
			return chunk[:min(end-offset, uint64(len(chunk)))]
		}
	}
	for name, c := range map[string]struct {
		server  lyingSFTP
		message string
	}{
		"endless":                    {lyingSFTP{expected, endless}, "it is longer"},
		"endless, reported as 0":     {lyingSFTP{0, endless}, "it is longer"},
		"endless, reported as 1<<62": {lyingSFTP{1 << 62, endless}, "it is longer"},
		"a byte too long":            {lyingSFTP{expected, upTo(expected + 1)}, "it is longer"},
		"short":                      {lyingSFTP{expected, upTo(expected - 1)}, "it ends 1 bytes early"},
		"empty":                      {lyingSFTP{expected, upTo(0)}, "it ends 100000 bytes early"},
		"more than requested":        {lyingSFTP{expected, func(uint64) []byte { return make([]byte, 200<<10) }}, "it is longer"},
		"stops answering when it is longer": {lyingSFTP{1 << 40, func(offset uint64) []byte {
			if offset > 4*expected {
				return nil
			}
			return chunk
		}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFakeServer(t)
			s.subsystem = c.server.serve
			conn := dial(t, newDialer(t, Options{}), s.start().target)
			conn.cleanupTimeout = testTimeout
			if c.message == "" { // it never answers
				conn.cleanupTimeout = 100 * time.Millisecond
			}
			var got bytes.Buffer
			err := conn.Get(testContext(t), "dir", "file", expected, &got)
			if got.Len() > expected || err == nil {
				t.Errorf("%d bytes, %v", got.Len(), err)
			}
			if c.message != "" {
				wantError(t, err, problem.Command, c.message)
			}
		})
	}
}

// failingWriter accepts left bytes and then fails.
type failingWriter struct{ left int }

var errFull = errors.New("full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestGetIntoAFullDisk checks that Get returns the writer's error unchanged, also
// if the server stops answering.
func TestGetIntoAFullDisk(t *testing.T) {
	for _, silentAfter := range []uint64{1 << 40, 300_000} {
		s := newFakeServer(t)
		s.subsystem = lyingSFTP{1 << 30, func(offset uint64) []byte {
			if offset > silentAfter {
				return nil
			}
			return make([]byte, 32<<10)
		}}.serve
		c := dial(t, newDialer(t, Options{}), s.start().target)
		c.cleanupTimeout /= 10
		if err := c.Get(testContext(t), "dir", "file", 1<<30, &failingWriter{100_000}); !errors.Is(err, errFull) {
			t.Errorf("%v", err)
		}
	}
}

// TestGetIsCut checks that nothing is written after Get has returned because the
// connection dropped or the context ended.
func TestGetIsCut(t *testing.T) {
	for name, cut := range map[string]func(s *fakeServer, cancel func()){
		"dropped":   func(s *fakeServer, _ func()) { s.drop() },
		"cancelled": func(_ *fakeServer, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeServer(t)
			s.subsystem = lyingSFTP{1 << 30, func(uint64) []byte { return make([]byte, 32<<10) }}.serve
			c := dial(t, newDialer(t, Options{}), s.start().target)
			c.cleanupTimeout /= 10
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			w := &watchedWriter{after: 200_000, then: func() { cut(s, cancel) }}
			err := c.Get(ctx, "dir", "file", 1<<30, w)
			w.returned = true // the race detector sees a write after this
			var e *problem.Error
			if !errors.As(err, &e) || e.Class != problem.Unreachable && e.Class != problem.Interrupted {
				t.Errorf("%v", err)
			}
			_ = c.Close()
			if w.late {
				t.Error("written after Get returned")
			}
		})
	}
}

type watchedWriter struct {
	came, after    int
	then           func()
	returned, late bool
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	w.late = w.late || w.returned
	if w.came += len(p); w.came > w.after && w.then != nil {
		w.then()
		w.then = nil
	}
	return len(p), nil
}
