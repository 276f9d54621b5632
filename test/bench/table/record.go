//go:build linux

// Package table is a fleet of SSH servers that answer from a table what one
// real machine of the lab has answered once. There is no shell and no file
// behind them: what is measured against them is the client.
package table

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Answers are the lines with which a host answers each verb of its script, the
// line that ends the answer included.
type Answers map[string][]string

// The lines of the conversation that matter here (internal/host): how a call
// begins and ends, and how an answer ends.
const (
	callBegins   = "main 3<&0 <<"
	callEnds     = "AOIFLEET-VALUES"
	verbKey      = "verb="
	answerEnds   = "end="
	wantsTheWord = "verdict="
)

// whichMachine is the line that is not passed on: many hosts answer with the table.
const whichMachine = "machine="

// calls reads what a client sends to the script, and tells of each call once it
// is whole. Other lines are the script, or the operator's word.
func calls(client io.Reader, called func(verb string), other func(line string)) {
	lines := bufio.NewScanner(client)
	lines.Buffer(make([]byte, 4096), 1<<20)
	verb, inCall := "", false
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, callBegins):
			inCall = true
		case inCall && strings.HasPrefix(line, verbKey):
			verb = strings.TrimPrefix(line, verbKey)
		case inCall && line == callEnds:
			inCall = false
			called(verb)
		case !inCall:
			other(line)
		}
	}
}

// Recorder stands before one machine of the lab and writes down what it says.
type Recorder struct {
	lab  string // host:port
	auth *ssh.ClientConfig

	mu      sync.Mutex
	verb    string
	answers Answers
}

// NewRecorder records the machine at address, into which the key in labDir logs.
func NewRecorder(labDir, address string) (*Recorder, error) {
	text, err := os.ReadFile(filepath.Join(labDir, "id_ed25519"))
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	return &Recorder{lab: address, answers: Answers{}, auth: &ssh.ClientConfig{
		User: "azureuser", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // a machine of our own, on loopback
	}}, nil
}

// Answers returns what has been recorded.
func (r *Recorder) Answers() Answers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers
}

// Serve takes one client after the other to the machine, until the listener is
// closed.
func (r *Recorder) Serve(listener net.Listener, key ssh.Signer) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return nil
		}
		if err := r.record(conn, key); err != nil {
			return err
		}
	}
}

func (r *Recorder) record(conn net.Conn, key ssh.Signer) error {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, serverConfig(key))
	if err != nil {
		return err
	}
	go ssh.DiscardRequests(requests)
	machine, err := ssh.Dial("tcp", r.lab, r.auth)
	if err != nil {
		return err
	}
	defer machine.Close()
	var open sync.WaitGroup
	var mu sync.Mutex
	for asked := range channels {
		open.Go(func() {
			if e := r.pass(asked, machine); e != nil {
				mu.Lock()
				defer mu.Unlock()
				err = errors.Join(err, e)
			}
		})
	}
	open.Wait()
	return err
}

// pass takes one channel on to the machine, with its requests.
func (r *Recorder) pass(asked ssh.NewChannel, machine *ssh.Client) error {
	far, farRequests, err := machine.OpenChannel(asked.ChannelType(), asked.ExtraData())
	if err != nil {
		return err
	}
	defer far.Close()
	near, nearRequests, err := asked.Accept()
	if err != nil {
		return err
	}
	defer near.Close()
	var ways sync.WaitGroup
	input, tap := io.Pipe()
	ways.Go(func() { calls(input, r.called, func(string) {}) })
	ways.Go(func() {
		_, _ = io.Copy(io.MultiWriter(far, tap), near) // either end is the other's
		_ = tap.Close()
		_ = far.CloseWrite()
	})
	ways.Go(func() { relay(near, farRequests) })
	go relay(far, nearRequests)
	r.listen(far, near)
	_ = near.CloseWrite()
	ways.Wait()
	return nil
}

func relay(to ssh.Channel, requests <-chan *ssh.Request) {
	for request := range requests {
		ok, err := to.SendRequest(request.Type, request.WantReply, request.Payload)
		if request.WantReply {
			_ = request.Reply(ok && err == nil, nil)
		}
		if request.Type == "exit-status" || request.Type == "exit-signal" {
			_ = to.Close()
		}
	}
}

func (r *Recorder) called(verb string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verb = verb
	r.answers[verb] = nil
}

// listen passes on what the machine says, and notes the lines of a script.
func (r *Recorder) listen(machine, client ssh.Channel) {
	said, tap := io.Pipe()
	var noting sync.WaitGroup
	noting.Go(func() {
		lines := bufio.NewScanner(said)
		lines.Buffer(make([]byte, 4096), 1<<20)
		for lines.Scan() {
			r.note(lines.Text())
		}
		_, _ = io.Copy(io.Discard, said) // SFTP is no text
	})
	_, _ = io.Copy(client, io.TeeReader(machine, tap))
	_ = tap.Close()
	noting.Wait()
}

func (r *Recorder) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verb == "" || strings.HasPrefix(line, whichMachine) {
		return
	}
	r.answers[r.verb] = append(r.answers[r.verb], line)
	if strings.HasPrefix(line, answerEnds) {
		r.verb = ""
	}
}
