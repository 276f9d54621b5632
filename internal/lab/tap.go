package lab

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// tap is one TCP connection of a client, with the faults of the line.
type tap struct {
	net.Conn
	machine *Machine
	life    *life
	silent  atomic.Bool  // neither way passes anything on
	came    atomic.Int64 // bytes from the client
}

// Read reads what the client sent. On a silent line it goes on reading and
// keeps nothing, so that the client's end of it is still noticed.
func (t *tap) Read(p []byte) (int, error) {
	for {
		n, err := t.Conn.Read(p)
		if err != nil {
			return n, err
		}
		if t.quiet() {
			continue
		}
		if rest, cut := t.cutAfter(t.came.Load(), int64(n)); cut {
			_ = t.Close()
			if rest == 0 {
				return 0, io.EOF
			}
			n = int(rest)
		}
		t.came.Add(int64(n))
		return n, nil
	}
}

// quiet tells whether the line passes nothing on: told so, or without power.
func (t *tap) quiet() bool { return t.silent.Load() || t.life.dark.Load() }

// cutAfter tells how many of n more bytes may pass before the connection is cut.
func (t *tap) cutAfter(before, n int64) (rest int64, cut bool) {
	for _, f := range t.machine.faults.all() {
		if f.word != faultCutAfter {
			continue
		}
		limit, _ := strconv.ParseInt(f.argument, 10, 64)
		if before < limit && before+n >= limit && t.machine.faults.claim(f, 1) {
			return max(limit-before, 0), true
		}
	}
	return n, false
}

func (t *tap) Write(p []byte) (int, error) {
	if t.quiet() {
		return len(p), nil
	}
	return t.Conn.Write(p)
}

// watched is a session's channel, with the faults that wait for a text.
type watched struct {
	ssh.Channel
	line     *tap
	command  atomic.Pointer[child] // nil: none was asked for yet
	in, out  watcher               // from the client, and from the machine
	watching sync.Mutex
}

// watcher finds texts in one direction of a stream, also across its chunks.
type watcher struct{ tail []byte }

// Read passes on what the client sent, as far as the faults let it.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Channel.Read(p)
	pass, act := w.look(&w.in, p[:n])
	if act == nil {
		return n, err
	}
	act()
	if pass == 0 {
		return 0, io.EOF
	}
	return pass, nil
}

// Write passes on what the machine says, as far as the faults let it.
func (w *watched) Write(p []byte) (int, error) {
	pass, act := w.look(&w.out, p)
	if act == nil {
		return w.Channel.Write(p)
	}
	if n, err := w.Channel.Write(p[:pass]); err != nil {
		return n, err
	}
	act()
	return len(p), nil
}

// look tells how much of p may pass and what has to happen then, if anything.
func (w *watched) look(direction *watcher, p []byte) (pass int, act func()) {
	w.watching.Lock()
	defer w.watching.Unlock()
	defer direction.remember(p)
	for _, f := range w.line.machine.faults.all() {
		next, last := w.action(f.word)
		if next == nil || f.onlyIn && direction != &w.in || f.onlyOut && direction != &w.out {
			continue
		}
		begin, end, found := direction.find(f.argument, p)
		if !found || !w.line.machine.faults.claim(f, 1) {
			continue
		}
		act = both(act, next)
		switch {
		case f.word == faultCutBefore:
			return begin, act
		case last:
			return end, act
		}
	}
	return len(p), act
}

func both(first, second func()) func() {
	if first == nil {
		return second
	}
	return func() { first(); second() }
}

// action is what a fault does when its text has come, nil for other faults, and
// whether nothing passes after that.
func (w *watched) action(word string) (act func(), last bool) {
	m := w.line.machine
	cut := func() { _ = w.line.Close() }
	switch word {
	case faultCutBefore, faultCutOn:
		return cut, true
	case faultGoneOn:
		return func() { m.faults.vanish(); _ = m.adjustPort(); cut() }, true
	case faultSilentOn:
		return func() { w.line.silent.Store(true) }, true
	case faultRebootOn:
		return w.reboot, true
	case faultKillOn:
		return func() { w.command.Load().signal(syscall.SIGKILL) }, false
	case faultSSHDRestartOn:
		return m.reopenPort, false
	case faultSudoRevokedOn:
		return func() { m.faults.revoke(); m.faultsChanged() }, false
	}
	return nil, false
}

// reboot stops the command at once; all else follows aside, as this is called
// by what the reboot waits for.
func (w *watched) reboot() {
	m := w.line.machine
	w.command.Load().freeze()
	w.line.life.dark.Store(true)
	m.fleet.tasks.Go(func() {
		if err := m.Reboot(context.Background()); err != nil && m.fleet.ctx.Err() == nil {
			m.fleet.opts.Notice(err.Error())
		}
	})
}

// find looks for text in what came before and p together, and gives its place
// in p.
func (w *watcher) find(text string, p []byte) (begin, end int, found bool) {
	before := w.tail[max(0, len(w.tail)-len(text)+1):]
	i := bytes.Index(append(bytes.Clone(before), p...), []byte(text))
	if i < 0 {
		return 0, 0, false
	}
	begin = i - len(before)
	return max(begin, 0), begin + len(text), true
}

func (w *watcher) remember(p []byte) {
	w.tail = append(w.tail, p...)
	if len(w.tail) > maxFaultText {
		w.tail = bytes.Clone(w.tail[len(w.tail)-maxFaultText:])
	}
}
