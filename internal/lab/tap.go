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

// tap is one TCP connection of a client, with the faults of the link.
type tap struct {
	net.Conn
	machine  *Machine
	life     *life
	silent   atomic.Bool  // neither direction passes anything
	received atomic.Int64 // bytes from the client
}

// Read reads the client's data. On a silent link it continues to read and
// drops the data, so that the client's close is still noticed.
func (t *tap) Read(p []byte) (int, error) {
	for {
		n, err := t.Conn.Read(p)
		if err != nil {
			return n, err
		}
		if t.isSilent() {
			continue
		}
		if rest, cut := t.cutAfter(t.received.Load(), int64(n)); cut {
			_ = t.Close()
			if rest == 0 {
				return 0, io.EOF
			}
			n = int(rest)
		}
		t.received.Add(int64(n))
		return n, nil
	}
}

// isSilent reports whether the link passes nothing: because of a fault, or without power.
func (t *tap) isSilent() bool { return t.silent.Load() || t.life.dark.Load() }

// cutAfter returns how many of n more bytes may pass, and whether the connection is cut then.
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
	if t.isSilent() {
		return len(p), nil
	}
	return t.Conn.Write(p)
}

// watchedChannel is a session's channel, with the faults that a text triggers.
type watchedChannel struct {
	ssh.Channel
	line     *tap
	command  atomic.Pointer[child] // nil: not requested yet
	in, out  watcher               // from the client, and from the machine
	watching sync.Mutex
}

// watcher finds texts in one direction of a stream, also across chunks.
type watcher struct{ tail []byte }

// Read passes the client's data, as far as the faults allow.
func (w *watchedChannel) Read(p []byte) (int, error) {
	n, err := w.Channel.Read(p)
	pass, act := w.scan(&w.in, p[:n])
	if act == nil {
		return n, err
	}
	act()
	if pass == 0 {
		return 0, io.EOF
	}
	return pass, nil
}

// Write passes the machine's output, as far as the faults allow.
func (w *watchedChannel) Write(p []byte) (int, error) {
	pass, act := w.scan(&w.out, p)
	if act == nil {
		return w.Channel.Write(p)
	}
	if n, err := w.Channel.Write(p[:pass]); err != nil {
		return n, err
	}
	act()
	return len(p), nil
}

// scan returns how much of p may pass and the action after that; nil: none.
func (w *watchedChannel) scan(direction *watcher, p []byte) (pass int, act func()) {
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
		act = inOrder(act, next)
		switch {
		case f.word == faultCutBefore:
			return begin, act
		case last:
			return end, act
		}
	}
	return len(p), act
}

func inOrder(first, second func()) func() {
	if first == nil {
		return second
	}
	return func() { first(); second() }
}

// action returns the action of a fault whose text has appeared, nil for other
// faults, and whether nothing passes after it.
func (w *watchedChannel) action(word string) (act func(), last bool) {
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

// reboot stops the command at once. The rest runs in another goroutine, because
// the reboot waits for the caller.
func (w *watchedChannel) reboot() {
	m := w.line.machine
	w.command.Load().freeze()
	w.line.life.dark.Store(true)
	m.fleet.tasks.Go(func() {
		if err := m.Reboot(context.Background()); err != nil && m.fleet.ctx.Err() == nil {
			m.fleet.opts.Notice(err.Error())
		}
	})
}

// find searches for text in the previous chunks and p together, and returns its
// position in p.
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
