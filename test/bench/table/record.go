//go:build linux

// Package table is a fleet of SSH servers that replay the recorded answers of one
// machine of the lab. They have no shell and no files, so that a benchmark with them
// measures only the client.
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

// Answers are a host's lines of answer to each verb of its script, including the
// line that ends the answer.
type Answers map[string][]string

// The lines of the conversation (internal/host) that begin and end a call, and end an
// answer.
const (
	callBegins   = "main 3<&0 <<"
	callEnds     = "AOIFLEET-VALUES"
	verbKey      = "verb="
	answerEnds   = "end="
	wantsTheWord = "verdict="
)

// machineLine is the line with the machine's identity, which is not recorded: many hosts replay the table.
const machineLine = "machine="

// calls reads a client's data for the script. It calls called for each complete call,
// and other for other lines: the script, or a confirmation.
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

// Recorder forwards to one machine of the lab and records its answers.
type Recorder struct {
	lab  string // host:port
	auth *ssh.ClientConfig

	mu      sync.Mutex
	verb    string
	answers Answers
}

// NewRecorder returns a recorder for the machine at address, with the login key in labDir.
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

// Answers returns the recorded answers.
func (r *Recorder) Answers() Answers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers
}

// Serve connects one client after the other to the machine, until the listener is
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

// pass forwards one channel to the machine, with its requests.
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
	var directions sync.WaitGroup
	input, tap := io.Pipe()
	directions.Go(func() { calls(input, r.noteCall, func(string) {}) })
	directions.Go(func() {
		_, _ = io.Copy(io.MultiWriter(far, tap), near) // the end of one ends the other
		_ = tap.Close()
		_ = far.CloseWrite()
	})
	directions.Go(func() { relay(near, farRequests) })
	go relay(far, nearRequests)
	r.relayOutput(far, near)
	_ = near.CloseWrite()
	directions.Wait()
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

func (r *Recorder) noteCall(verb string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verb = verb
	r.answers[verb] = nil
}

// relayOutput forwards the machine's output, and records the lines of a script.
func (r *Recorder) relayOutput(machine, client ssh.Channel) {
	output, tap := io.Pipe()
	var noting sync.WaitGroup
	noting.Go(func() {
		lines := bufio.NewScanner(output)
		lines.Buffer(make([]byte, 4096), 1<<20)
		for lines.Scan() {
			r.noteLine(lines.Text())
		}
		_, _ = io.Copy(io.Discard, output) // SFTP is not text
	})
	_, _ = io.Copy(client, io.TeeReader(machine, tap))
	_ = tap.Close()
	noting.Wait()
}

func (r *Recorder) noteLine(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verb == "" || strings.HasPrefix(line, machineLine) {
		return
	}
	r.answers[r.verb] = append(r.answers[r.verb], line)
	if strings.HasPrefix(line, answerEnds) {
		r.verb = ""
	}
}
