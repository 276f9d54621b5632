package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Packet types and status codes of draft-ietf-secsh-filexfer-02.
const (
	fxInit, fxVersion                             = 1, 2
	fxOpen, fxClose, fxWrite                      = 3, 4, 6
	fxLstat, fxSetstat, fxFsetstat                = 7, 9, 10
	fxRemove, fxMkdir, fxRmdir                    = 13, 14, 15
	fxStatus, fxHandle                            = 101, 102
	statusOK, statusMissing, statusDenied, failed = 0, 2, 3, 4
)

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func sendPacket(w io.Writer, kind byte, body []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	_, _ = w.Write(append(append(b, kind), body...))
}

// readPacket returns the type and what follows it.
func readPacket(r io.Reader) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-1)
	_, err := io.ReadFull(r, body)
	return head[4], body, err
}

func sendStatus(w io.Writer, id []byte, code uint32) {
	body := binary.BigEndian.AppendUint32(slices.Clone(id), code)
	sendPacket(w, fxStatus, appendString(appendString(body, "text"), ""))
}

// scriptedSFTP is an SFTP server with scripted answers instead of a file system. It
// checks round trips: it answers nothing before it has read a whole batch, so a
// client that does not send the batch at once blocks.
type scriptedSFTP struct {
	batches [][]byte                                               // request types that arrive before the first is answered
	answer  func(w io.Writer, kind byte, id []byte) (handled bool) // instead of "ok"; may be nil

	mu    sync.Mutex
	seen  []byte
	flags []byte // the last four bytes before the attributes of the last open
}

func (s *scriptedSFTP) serve(ch ssh.Channel) {
	if kind, _, err := readPacket(ch); err != nil || kind != fxInit {
		return
	}
	sendPacket(ch, fxVersion, []byte{0, 0, 0, 3})
	for trip := 0; ; trip++ {
		size := 1
		if trip < len(s.batches) {
			size = len(s.batches[trip])
		}
		kinds, ids := make([]byte, size), make([][]byte, size)
		for i := range size {
			kind, body, err := readPacket(ch)
			if err != nil {
				return
			}
			kinds[i], ids[i] = kind, body[:4]
			s.mu.Lock()
			s.seen = append(s.seen, kind)
			if kind == fxOpen {
				s.flags = body[len(body)-8 : len(body)-4]
			}
			s.mu.Unlock()
		}
		for i := range size {
			s.reply(ch, kinds[i], ids[i])
		}
	}
}

func (s *scriptedSFTP) reply(w io.Writer, kind byte, id []byte) {
	switch {
	case s.answer != nil && s.answer(w, kind, id):
	case kind == fxOpen:
		sendPacket(w, fxHandle, appendString(slices.Clone(id), "handle"))
	default:
		sendStatus(w, id, statusOK)
	}
}

func (s *scriptedSFTP) requests() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func dialScripted(t *testing.T, script *scriptedSFTP) *Conn {
	t.Helper()
	s := newFakeServer(t)
	s.subsystem = script.serve
	return dial(t, newDialer(t, Options{}), s.start().target)
}

// TestPutRoundTrips checks the four round trips and their order: the directory is
// private before the file exists, and the file before it contains data.
func TestPutRoundTrips(t *testing.T) {
	batches := [][]byte{{fxMkdir}, {fxSetstat, fxOpen}, {fxFsetstat, fxWrite}, {fxClose}, {fxRemove, fxRmdir}}
	script := &scriptedSFTP{batches: batches}
	c := dialScripted(t, script)
	if err := c.Put(testContext(t), "dir", "file", make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(testContext(t), "dir", "file"); err != nil {
		t.Fatal(err)
	}
	if got, want := script.requests(), bytes.Join(batches, nil); !bytes.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
	if want := []byte{0, 0, 0, 0x2a}; !bytes.Equal(script.flags, want) { // write, create, exclusive
		t.Errorf("open flags %x, want %x", script.flags, want)
	}
}

// TestPutLargeOverlaps checks that more than 32 KiB are several writes in one round
// trip.
func TestPutLargeOverlaps(t *testing.T) {
	batches := [][]byte{{fxMkdir}, {fxSetstat, fxOpen}, {fxFsetstat, fxWrite, fxWrite, fxWrite, fxWrite}, {fxClose}}
	script := &scriptedSFTP{batches: batches}
	if err := dialScripted(t, script).Put(testContext(t), "dir", "file", make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if got, want := script.requests(), bytes.Join(batches, nil); !bytes.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

// TestPutFails fails every step and checks that what Put created is removed, that an
// existing directory is unchanged, and that nothing is written unless all earlier
// steps succeeded.
func TestPutFails(t *testing.T) {
	tidy := []byte{fxRemove, fxRmdir}
	toOpen := []byte{fxMkdir, fxSetstat, fxOpen}
	toWrite := append(slices.Clone(toOpen), fxFsetstat, fxWrite)
	cases := []struct {
		name    string
		kind    byte // of the request that fails
		code    uint32
		class   problem.Class
		message string
		want    []byte
	}{
		{"mkdir, disk full", fxMkdir, failed, problem.Disk, "no space", []byte{fxMkdir, fxLstat}},
		{"mkdir, denied", fxMkdir, statusDenied, problem.Command, "permission denied", []byte{fxMkdir, fxLstat}},
		{"mkdir, unknown status", fxMkdir, 99, problem.Command, "cannot create the private directory", []byte{fxMkdir, fxLstat}},
		{"chmod of the directory", fxSetstat, failed, problem.Command, "private", slices.Concat(toOpen, []byte{fxClose}, tidy)},
		{"open, disk full", fxOpen, failed, problem.Disk, "cannot create the file", slices.Concat(toOpen, tidy)},
		{"open, answered with ok", fxOpen, statusOK, problem.Command, "broke the SFTP protocol", slices.Concat(toOpen, tidy)},
		{"chmod of the file", fxFsetstat, statusDenied, problem.Command, "cannot make the file private", slices.Concat(toWrite, []byte{fxClose}, tidy)},
		{"write, disk full", fxWrite, failed, problem.Disk, "cannot write the file", slices.Concat(toWrite, []byte{fxClose}, tidy)},
		{"close", fxClose, failed, problem.Disk, "cannot close the file", slices.Concat(toWrite, []byte{fxClose}, tidy)},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			script := &scriptedSFTP{answer: func(w io.Writer, kind byte, id []byte) bool {
				switch kind {
				case fxLstat:
					sendStatus(w, id, statusMissing)
				case tc.kind:
					sendStatus(w, id, tc.code)
				default:
					return false
				}
				return true
			}}
			err := dialScripted(t, script).Put(testContext(t), "dir", "file", []byte("secret"))
			wantError(t, err, tc.class, tc.message)
			if got := script.requests(); !bytes.Equal(got, tc.want) {
				t.Errorf("requests %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRemoveFails(t *testing.T) {
	for kind, message := range map[byte]string{fxRemove: "cannot remove", fxRmdir: "cannot remove"} {
		script := &scriptedSFTP{answer: func(w io.Writer, got byte, id []byte) bool {
			if got == kind || (kind == fxRemove && got != fxMkdir) {
				sendStatus(w, id, failed)
				return true
			}
			return false
		}}
		wantError(t, dialScripted(t, script).Remove(testContext(t), "dir", "file"), problem.Command, message)
	}
}

// TestPutStalls checks that the end of the context ends a Put whose server stops
// answering, and that the clean-up happens if the server answers again in time.
func TestPutStalls(t *testing.T) {
	for _, stalled := range []byte{fxMkdir, fxOpen, fxWrite, fxClose} {
		ctx, cancel := context.WithCancel(testContext(t))
		script := &scriptedSFTP{answer: func(w io.Writer, kind byte, id []byte) bool {
			if kind == stalled {
				cancel() // then answer
			}
			return false
		}}
		err := dialScripted(t, script).Put(ctx, "dir", "file", []byte("secret"))
		got := script.requests()
		if stalled == fxClose && err == nil {
			continue // it was complete
		}
		wantError(t, err, problem.Interrupted, "interrupted")
		if !errors.Is(err, context.Canceled) || !bytes.HasSuffix(got, []byte{fxRemove, fxRmdir}) {
			t.Errorf("%d: %v, requests %v", stalled, err, got)
		}
	}
}

// TestPutDeadServer checks that Put returns if the server never answers, and that
// the next Put gets a new session.
func TestPutDeadServer(t *testing.T) {
	s := newFakeServer(t)
	ctx, cancel := context.WithCancel(testContext(t))
	var mu sync.Mutex
	sessions := 0
	s.subsystem = func(ch ssh.Channel) {
		mu.Lock()
		sessions++
		dead := sessions == 1
		mu.Unlock()
		(&scriptedSFTP{answer: func(_ io.Writer, kind byte, _ []byte) bool {
			if dead && kind == fxWrite {
				cancel()
				return true // no answer
			}
			return false
		}}).serve(ch)
	}
	c := dial(t, newDialer(t, Options{}), s.start().target)
	c.cleanupTimeout = 10 * time.Millisecond
	wantError(t, c.Put(ctx, "dir", "file", []byte("x")), problem.Interrupted, "interrupted")
	<-c.sftp.ended // the server answers the close of a channel
	c.cleanupTimeout = testTimeout
	if err := c.Put(testContext(t), "dir", "file", []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestSFTPFaults(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(s *fakeServer)
		class   problem.Class
		message string
	}{
		{"disabled", func(s *fakeServer) { s.refuse["subsystem"] = true }, problem.Command, "SFTP is disabled"},
		{"no session", func(s *fakeServer) {
			s.open = func(n ssh.NewChannel) bool { _ = n.Reject(ssh.ConnectionFailed, "open failed"); return true }
		}, problem.Command, "allows no sessions"},
		{"no server program", func(s *fakeServer) {
			s.subsystem = func(ch ssh.Channel) { _, _ = io.WriteString(ch.Stderr(), "sh: sftp-server: not found\n") }
		}, problem.Command, "SFTP does not work"},
		{"chatty shell", func(s *fakeServer) {
			s.subsystem = func(ch ssh.Channel) { _, _ = io.WriteString(ch, "Welcome to this host\n") }
		}, problem.Command, "SFTP does not work"},
		{"endless stdout", func(s *fakeServer) { s.subsystem = func(ch ssh.Channel) { flood(ch, "\x00\x00\x00\x05\x02") } },
			problem.Command, "SFTP does not work"},
		{"ends during a request", func(s *fakeServer) {
			s.subsystem = func(ch ssh.Channel) {
				_, _, _ = readPacket(ch)
				sendPacket(ch, fxVersion, []byte{0, 0, 0, 3})
				_, _, _ = readPacket(ch)
			}
		}, problem.Command, "the SFTP session ended"},
		{"answers an unknown request", func(s *fakeServer) {
			s.subsystem = func(ch ssh.Channel) {
				_, _, _ = readPacket(ch)
				sendPacket(ch, fxVersion, []byte{0, 0, 0, 3})
				_, _, _ = readPacket(ch)
				sendStatus(ch, []byte{9, 9, 9, 9}, statusOK)
				_, _ = io.Copy(io.Discard, ch)
			}
		}, problem.Command, "the SFTP session ended"},
		{"drops the connection", func(s *fakeServer) {
			s.subsystem = func(ch ssh.Channel) {
				_, _, _ = readPacket(ch)
				sendPacket(ch, fxVersion, []byte{0, 0, 0, 3})
				_, _, _ = readPacket(ch)
				s.drop()
			}
		}, problem.Unreachable, "connection lost"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := newFakeServer(t)
			tc.prepare(s)
			c := dial(t, newDialer(t, Options{}), s.start().target)
			if strings.HasPrefix(tc.message, "SFTP ") { // then a command replaces it
				wantError(t, c.OpenSFTP(testContext(t)), tc.class, tc.message)
				putAndRemove(t, c, s.home)
				return
			}
			wantError(t, c.Put(testContext(t), "dir", "file", nil), tc.class, tc.message)
		})
	}
}

// TestSFTPSilent checks that a subsystem that never answers delays only its caller,
// and that the connection still runs commands.
func TestSFTPSilent(t *testing.T) {
	s := newFakeServer(t)
	s.subsystem = func(ch ssh.Channel) { _, _ = io.Copy(io.Discard, ch) }
	c := dial(t, newDialer(t, Options{}), s.start().target)
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond)
	defer cancel()
	wantError(t, c.Put(ctx, "dir", "file", nil), problem.Timeout, "timed out")
	if out, err := c.Run(testContext(t), "printf ok", nil); err != nil || string(out) != "ok" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestSecretsStayOut(t *testing.T) {
	script := &scriptedSFTP{answer: func(w io.Writer, kind byte, id []byte) bool {
		if kind == fxWrite {
			sendStatus(w, id, failed)
		}
		return kind == fxWrite
	}}
	err := dialScripted(t, script).Put(testContext(t), "dir", "file", []byte("hunter2"))
	if e := wantError(t, err, problem.Disk, ""); strings.Contains(e.Message+e.Hint, "hunter2") {
		t.Error("the data is in the error")
	}
}
