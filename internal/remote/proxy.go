package remote

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// proxyConn is a ProxyCommand as a transport. Close ends its process group.
type proxyConn struct {
	cmd    *exec.Cmd
	in     *os.File // the command's standard input
	out    *os.File
	stderr tail
	remote endpoint
	ending atomic.Bool // the command has closed its output or its input

	closing sync.Once
	killed  bool          // Close has killed it; set before done is closed
	done    chan struct{} // closed when the process has ended
}

// startProxy runs line as ssh does ("exec" replaces the shell), without a terminal
// for prompts.
func startProxy(line string, remote endpoint) (net.Conn, error) {
	p := &proxyConn{cmd: exec.Command("/bin/sh", "-c", "exec "+line), remote: remote, done: make(chan struct{})}
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, proxyError(err.Error())
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		_, _ = stdin.Close(), in.Close()
		return nil, proxyError(err.Error())
	}
	p.in, p.out = in, out
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, &p.stderr
	p.cmd.WaitDelay = closeGrace // a child may keep stderr open
	err = startGroup(p.cmd)
	_, _ = stdin.Close(), stdout.Close() // the command has copies
	if err != nil {
		_, _ = in.Close(), out.Close()
		if ours := problem.As(err); ours != nil {
			return nil, ours
		}
		return nil, proxyError(err.Error())
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func proxyError(why string) *problem.Error {
	return &problem.Error{Class: problem.Unreachable, Message: "ProxyCommand: " + display.Sanitise(why, 300)}
}

// Read reads from the command's output.
func (p *proxyConn) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err != nil {
		p.ending.Store(true)
	}
	return n, err
}

// Write writes to the command's input.
func (p *proxyConn) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	if err != nil {
		p.ending.Store(true)
	}
	return n, err
}

// Close ends the command and returns when it has ended. A command that has closed
// its output or input gets a second to end by itself; then it gets SIGTERM, and a
// second later SIGKILL.
func (p *proxyConn) Close() error {
	p.closing.Do(func() {
		ending := p.ending.Load()
		_, _ = p.in.Close(), p.out.Close()
		if ending && p.wait() {
			endGroup(p.cmd, true) // its children
			return
		}
		p.killed = true
		endGroup(p.cmd, false)
		p.wait()
		endGroup(p.cmd, true)
		<-p.done
	})
	return nil
}

// wait returns whether the process ends within closeGrace.
func (p *proxyConn) wait() bool {
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// failure returns how the command ended, after Close; nil if it succeeded and the
// machine has spoken. The command is not run again, because a login on its route
// may have been refused.
func (p *proxyConn) failure(spoke bool) error {
	why := "the command ended"
	switch state := p.cmd.ProcessState; {
	case p.killed:
		why = "the command closed its output"
	case state != nil && !state.Success():
		why, spoke = state.String(), false
	}
	if spoke {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(p.stderr.text()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		why += ": " + last
	}
	e := proxyError(why)
	e.Hint = "run it manually to see its output"
	return e
}

// LocalAddr returns a placeholder.
func (p *proxyConn) LocalAddr() net.Addr { return endpoint("localhost:0") }

// RemoteAddr returns the machine that the command connects to.
func (p *proxyConn) RemoteAddr() net.Addr { return p.remote }

// SetDeadline calls SetReadDeadline and SetWriteDeadline.
func (p *proxyConn) SetDeadline(t time.Time) error {
	if err := p.out.SetReadDeadline(t); err != nil {
		return err
	}
	return p.in.SetWriteDeadline(t)
}

// SetReadDeadline bounds Read.
func (p *proxyConn) SetReadDeadline(t time.Time) error { return p.out.SetReadDeadline(t) }

// SetWriteDeadline bounds Write.
func (p *proxyConn) SetWriteDeadline(t time.Time) error { return p.in.SetWriteDeadline(t) }
