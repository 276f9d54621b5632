package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Client speaks to an engine. It starts its program with the first call, and again with the next
// one if that has ended. It is safe for concurrent use.
type Client struct {
	URL     URL
	Program string            // path of aoifleet-engine; "": it was not found
	Say     func(line string) // prints what the program says on standard error

	mu     sync.Mutex
	talker *talker // nil: none runs
	last   int     // ID
}

// talker is one process of the program.
type talker struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	writing sync.Mutex
	ended   chan struct{}

	mu    sync.Mutex
	calls map[int]chan Answer
	why   *problem.Error // set before ended is closed
}

// helloTime is how long the program may take to reach the server, and its keys.
const helloTime = 90 * time.Second

// leaving is how long the streams of a program that has ended are read.
const leaving = 5 * time.Second

// Open starts the program and reaches the server. The error is a *problem.Error.
func (c *Client) Open(ctx context.Context) error {
	_, err := c.open(ctx)
	return err
}

func (c *Client) open(ctx context.Context) (*talker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.talker != nil {
		select {
		case <-c.talker.ended:
		default:
			return c.talker, nil
		}
	}
	if c.Program == "" {
		return nil, problem.New(problem.Usage, "install it beside aoifleet or into a folder of PATH", "aoifleet-engine, which speaks to %s, was not found", c.URL)
	}
	t, err := c.start(ctx)
	if err == nil {
		c.talker = t
	}
	return t, err
}

// start starts a process and waits for its first line.
func (c *Client) start(ctx context.Context) (*talker, error) {
	t := &talker{cmd: exec.Command(c.Program, "talk", "--address", c.URL.Address, "--namespace", c.URL.Namespace), ended: make(chan struct{}), calls: map[int]chan Answer{}}
	ownGroup(t.cmd) // ^C is for this process: it stops the run in order
	said := &lines{say: c.Say}
	t.cmd.Stderr = said
	t.cmd.WaitDelay = leaving // what it has started may hold its streams
	stdin, err := t.cmd.StdinPipe()
	if err != nil {
		return nil, cannotStart(c.Program, err)
	}
	stdout, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, cannotStart(c.Program, err)
	}
	if err := t.cmd.Start(); err != nil {
		return nil, cannotStart(c.Program, err)
	}
	t.stdin = stdin
	hello := make(chan Hello, 1)
	go t.read(stdout, hello, said, c.URL)
	limit := time.NewTimer(helloTime)
	defer limit.Stop()
	select {
	case h := <-hello:
		if h.Protocol == Protocol {
			return t, nil
		}
		t.kill()
		return nil, problem.New(problem.Usage, "install both from one release", "%s speaks version %d of the protocol, not %d: it is of release %s", c.Program, h.Protocol, Protocol, display.Sanitise(h.Version, 50))
	case <-t.ended:
		return nil, t.why
	case <-limit.C:
		t.kill()
		return nil, problem.New(problem.Unreachable, "is the server running?", "no connection to %s within %s", c.URL, helloTime)
	case <-ctx.Done():
		t.kill()
		return nil, ctx.Err()
	}
}

func cannotStart(program string, err error) error {
	return problem.New(problem.Usage, "", "cannot start %s: %s", program, err)
}

// read reads the lines of the program until it ends.
func (t *talker) read(stdout io.Reader, hello chan<- Hello, said *lines, url URL) {
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, MaxLine)
	var first Hello
	wrong := scanner.Scan() && (json.Unmarshal(scanner.Bytes(), &first) != nil || first.Protocol == 0)
	if !wrong && first.Protocol > 0 {
		hello <- first
	}
	for !wrong && scanner.Scan() {
		var a Answer
		if wrong = json.Unmarshal(scanner.Bytes(), &a) != nil; !wrong {
			clean(&a)
			t.deliver(a)
		}
	}
	if wrong || scanner.Err() != nil {
		t.kill()
		t.why = problem.New(problem.Unexpected, "is it the program of this release?", "%s has sent something else than an answer", t.cmd.Path)
	}
	t.end(said, url)
}

// end waits for the process, and ends the calls that wait for an answer.
func (t *talker) end(said *lines, url URL) {
	err := t.cmd.Wait()
	if t.why == nil {
		t.why = said.problem(t.cmd.ProcessState.ExitCode(), url)
	}
	_ = err // what it has said says more
	close(t.ended)
}

func (t *talker) deliver(a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to := t.calls[a.ID]; to != nil {
		delete(t.calls, a.ID)
		to <- a
	}
}

func (t *talker) kill() { killGroup(t.cmd.Process) }

// call asks and waits for the answer. The error is a *problem.Error, or that of ctx.
func (c *Client) call(ctx context.Context, r Request) (Answer, error) {
	t, err := c.open(ctx)
	if err != nil {
		return Answer{}, err
	}
	answer := make(chan Answer, 1)
	c.mu.Lock()
	c.last++
	r.ID = c.last
	c.mu.Unlock()
	t.mu.Lock()
	t.calls[r.ID] = answer
	t.mu.Unlock()
	line, err := json.Marshal(r)
	if err != nil {
		return Answer{}, err
	}
	go t.write(append(line, '\n')) // a program that does not read must not hinder the end of ctx
	select {
	case a := <-answer:
		if a.Problem != nil { // the program leaves its own URL out of the commands that it names
			a.Problem.Hint = strings.ReplaceAll(a.Problem.Hint, "--engine URL", "--engine "+c.URL.String())
			return a, a.Problem
		}
		return a, nil
	case <-t.ended:
		return Answer{}, t.why
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
}

func (t *talker) write(line []byte) {
	t.writing.Lock()
	defer t.writing.Unlock()
	_, _ = t.stdin.Write(line) // it fails if the process has ended, which is known otherwise
}

// Close ends the program.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.talker != nil {
		_ = c.talker.stdin.Close()
		c.talker.kill() // it has answered all that is needed
		<-c.talker.ended
		c.talker = nil
	}
}

// Survey has hosts observed, at most MaxSurvey. There is a look for each.
func (c *Client) Survey(ctx context.Context, run Run, hosts []rollout.HostData) ([]Look, error) {
	a, err := c.call(ctx, Request{Do: DoSurvey, Run: run, Hosts: hosts})
	if err == nil && len(a.Looks) != len(hosts) {
		err = problem.New(problem.Unexpected, "", "the engine has looked at %d hosts of %d", len(a.Looks), len(hosts))
	}
	return a.Looks, err
}

// Current returns the state of the rollout that is running, nil if none is.
func (c *Client) Current(ctx context.Context) (*State, error) {
	a, err := c.call(ctx, Request{Do: DoCurrent})
	if err == nil && a.State != nil && !journal.IsID(a.State.Run.ID) { // it becomes part of commands to type
		return nil, problem.New(problem.Unexpected, "", "the engine has sent something else than the ID of a run")
	}
	return a.State, err
}

// Begin begins a rollout, which then waits for its parts. With an error of class usage, locked or
// forbidden it has not begun; with another one that is not known.
func (c *Client) Begin(ctx context.Context, run Run, b Begin) error {
	_, err := c.call(ctx, Request{Do: DoBegin, Run: run, Begin: &b})
	return err
}

// SendPart sends a part to a rollout, which takes it once.
func (c *Client) SendPart(ctx context.Context, run Run, p Part) error {
	_, err := c.call(ctx, Request{Do: DoPart, Run: run, Part: &p})
	return err
}

// State returns the state of a run's rollout.
func (c *Client) State(ctx context.Context, run string) (*State, error) {
	a, err := c.call(ctx, Request{Do: DoState, Run: Run{ID: run}})
	if err == nil && (a.State == nil || a.State.Run.ID != run) {
		err = problem.New(problem.Unexpected, "", "the engine has sent the state of another run")
	}
	return a.State, err
}

// States returns the states of the hosts of a part that have ended.
func (c *Client) States(ctx context.Context, run string, part int) ([]HostState, error) {
	a, err := c.call(ctx, Request{Do: DoStates, Run: Run{ID: run}, N: part})
	return a.States, err
}

// Results returns the results of all hosts of a part.
func (c *Client) Results(ctx context.Context, run string, part int) ([]rollout.ResultData, error) {
	var all []rollout.ResultData
	for len(all) < 2*rollout.MaxPart {
		a, err := c.call(ctx, Request{Do: DoResults, Run: Run{ID: run}, N: part, From: len(all)})
		if err != nil || len(a.Results) == 0 {
			return all, err
		}
		all = append(all, a.Results...)
	}
	return nil, problem.New(problem.Unexpected, "", "the engine has sent too many results")
}

// Signal sends a verb to a run: pause, resume, stop, or approve or Decline for a wave.
func (c *Client) Signal(ctx context.Context, run, signal string, wave int) error {
	_, err := c.call(ctx, Request{Do: DoSignal, Run: Run{ID: run}, Signal: signal, N: wave})
	return err
}

// List returns the newest rollouts, at most n.
func (c *Client) List(ctx context.Context, n int) ([]State, error) {
	a, err := c.call(ctx, Request{Do: DoList, N: n})
	return a.List[:min(len(a.List), n)], err
}

// lines passes on what the program says on standard error, line by line.
type lines struct {
	say  func(line string)
	mu   sync.Mutex
	part []byte
	last [2]string // the last two lines
	said int
}

const (
	maxSaid = 500 // bytes of a line
	maxSays = 200 // lines of a process
)

// Write is io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		line, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if !whole {
			break
		}
		l.line(string(line))
		l.part = rest
	}
	l.part = l.part[:min(len(l.part), 8*maxSaid)]
	return len(p), nil
}

// line keeps the error and the hint with which the program ends, and says all else.
func (l *lines) line(text string) {
	text = display.Sanitise(text, maxSaid)
	rest, isError := bytes.CutPrefix([]byte(text), []byte("error: "))
	hint, isHint := bytes.CutPrefix([]byte(text), []byte("hint: "))
	switch {
	case isError:
		l.last[0] = string(rest)
	case isHint:
		l.last[1] = string(hint)
	case l.said < maxSays:
		l.said++
		l.say("aoifleet-engine: " + text)
	}
}

// problem returns why a process has ended.
func (l *lines) problem(code int, url URL) *problem.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	class := problem.Unreachable
	if code == problem.ExitUsage {
		class = problem.Usage
	}
	if l.last[0] != "" {
		return problem.New(class, l.last[1], "%s", l.last[0])
	}
	return problem.New(class, "", "aoifleet-engine, which speaks to %s, has ended with exit code %d", url, code)
}
