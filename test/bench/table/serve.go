//go:build linux

package table

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func serverConfig(key ssh.Signer) *ssh.ServerConfig {
	config := &ssh.ServerConfig{ServerVersion: "SSH-2.0-OpenSSH_8.7",
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(key)
	return config
}

// Serve answers on a listener until it is closed.
func (a Answers) Serve(listener net.Listener, key ssh.Signer) {
	config := serverConfig(key)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go a.serveConn(conn, config)
		}
	}
}

func (a Answers) serveConn(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for asked := range channels {
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		go a.session(channel, requests)
	}
}

// session runs the one requested program.
func (a Answers) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for request := range requests {
		var argument struct{ Text string }
		_ = ssh.Unmarshal(request.Payload, &argument) // other requests are ignored
		ok := request.Type == "exec" || request.Type == "subsystem"
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		switch {
		case request.Type == "subsystem":
			go a.files(channel)
		case ok && strings.HasSuffix(argument.Text, "sh -s"):
			go a.converse(channel)
		case ok:
			exit(channel)
		}
	}
}

func exit(channel ssh.Channel) {
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
	_ = channel.Close()
}

// converse answers calls with the recorded lines; the rest of a transaction
// follows the confirmation.
func (a Answers) converse(channel ssh.Channel) {
	var rest string
	calls(channel, func(verb string) {
		if a[verb] == nil {
			_ = channel.Close() // rather than a client that waits: the recording lacks it
			return
		}
		var now strings.Builder
		rest = ""
		for i, line := range a[verb] {
			now.WriteString(line + "\n")
			if strings.HasPrefix(line, wantsTheWord) {
				rest = strings.Join(a[verb][i+1:], "\n") + "\n"
				break
			}
		}
		_, _ = io.WriteString(channel, now.String()) // a closed connection shows in the next read
	}, func(line string) {
		if rest != "" && strings.HasPrefix(line, "confirm ") {
			_, _ = io.WriteString(channel, rest)
			rest = ""
		}
	})
	exit(channel)
}

// files is an SFTP server that accepts all operations and has no files.
func (a Answers) files(channel ssh.Channel) {
	_ = sftp.NewRequestServer(channel, sftp.Handlers{FileGet: emptyFiles{}, FilePut: emptyFiles{}, FileCmd: emptyFiles{}, FileList: emptyFiles{}}).Serve()
	exit(channel)
}

type emptyFiles struct{}

func (emptyFiles) Fileread(*sftp.Request) (io.ReaderAt, error)   { return nil, os.ErrNotExist }
func (emptyFiles) Filewrite(*sftp.Request) (io.WriterAt, error)  { return emptyFiles{}, nil }
func (emptyFiles) WriteAt(p []byte, _ int64) (int, error)        { return len(p), nil }
func (emptyFiles) Filecmd(*sftp.Request) error                   { return nil }
func (emptyFiles) Filelist(*sftp.Request) (sftp.ListerAt, error) { return nil, os.ErrNotExist }
