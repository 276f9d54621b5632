package lab

import (
	"bytes"
	"io"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// session is one channel of a connection.
type session struct {
	machine *Machine
	life    *life
	channel *watchedChannel
}

// serve answers the requests of the channel, of which only the first command or
// subsystem runs (RFC 4254 section 6.5). The answer is sent before the command
// begins, because a command that ends immediately closes the channel.
func (s *session) serve(requests <-chan *ssh.Request) {
	begun := false
	for request := range requests {
		var argument struct{ Text string }
		err := ssh.Unmarshal(request.Payload, &argument)
		run := s.program(request.Type, argument.Text)
		ok := err == nil && run != nil && !begun
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		begun = true
		if !s.life.tasks.Go(run) {
			_ = s.channel.Close()
		}
	}
}

// program returns the function for a request; nil: refused. Terminals,
// environments and shells without a command are refused.
func (s *session) program(kind, argument string) func() {
	switch {
	case kind == "exec":
		return func() { s.exec(argument) }
	case kind == "subsystem" && argument == "sftp" && !s.machine.faults.has(faultNoSFTP):
		return s.sftp
	}
	return nil
}

// exec runs a command as sshd does and reports its end.
func (s *session) exec(command string) {
	defer s.channel.Close()
	s.machine.execs.Add(1)
	if s.machine.faults.has(faultEndlessOutput) {
		s.flood()
		return
	}
	s.printNoise()
	block, err := s.machine.block()
	if err != nil {
		s.exit(127, "")
		return
	}
	c := &child{}
	s.channel.command.Store(c)
	if err := c.start(s.machine, s.life, s.machine.shell(command), s.channel, s.channel.Stderr()); err != nil {
		s.machine.noticeStartError(err)
		s.exit(127, "")
		return
	}
	if !s.life.tasks.Go(func() { s.feed(c.stdin, block) }) {
		_ = c.stdin.Close()
	}
	s.exit(c.wait())
}

// feed passes the client's input to a command until either ends. The
// command's input ends with the client's, or with its connection.
func (s *session) feed(stdin io.WriteCloser, block string) {
	defer stdin.Close()
	script := &rewriter{out: stdin, block: block}
	if _, err := io.Copy(script, s.channel); err != nil {
		return // the command has closed its input, or ended
	}
	_ = script.Flush()
}

func (s *session) exit(status int, signal string) {
	if signal != "" { // RFC 4254 section 6.10
		_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal  string
			Core    bool
			Message string
			Tag     string
		}{Signal: signal}))
		return
	}
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
}

// flood prints until the client closes the channel.
func (s *session) flood() {
	chunk := bytes.Repeat([]byte("y\n"), 8<<10)
	for {
		if _, err := s.channel.Write(chunk); err != nil {
			return
		}
	}
}

// printNoise prints the unrequested output of a machine before a command.
func (s *session) printNoise() {
	if text, ok := s.machine.faults.get(faultNoise); ok {
		_, _ = io.WriteString(s.channel, text+"\n")
	}
	if s.machine.faults.has(faultEscapes) {
		// The title, a cleared screen, colours, a C1 control, and a direction override.
		const hostile = "\x1b]0;owned\x07\x1b[2J\x1b[31mresult=rotated\r\u009b1m\u202e\x00\xff\n"
		_, _ = io.WriteString(s.channel, hostile)
		_, _ = io.WriteString(s.channel.Stderr(), hostile)
	}
}

func (s *session) sftp() {
	defer s.channel.Close()
	s.machine.transfers.Add(1)
	if s.machine.faults.has(faultSFTPFull) {
		_ = sftp.NewRequestServer(s.channel, fullDisk(s.machine.Home)).Serve()
		s.exit(0, "")
		return
	}
	server, err := sftp.NewServer(s.channel, sftp.WithServerWorkingDirectory(s.machine.Home))
	if err != nil {
		return
	}
	_ = server.Serve()
	s.exit(0, "")
}
