package lab

import (
	"context"
	"errors"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

// SourceServer is the SFTP server from which the agents pull files, and SourcePassword the
// name of the secret with their password.
const (
	SourceServer   = "sftp.example.net:22"
	SourcePassword = "sftp-password"

	secretsFolder = "/etc/az-aoi-ingestion/secrets"
	knownHosts    = "/etc/ssh/ssh_known_hosts"
)

// reach connects from a machine to a target of Machine.forward.
func (f *Fleet) reach(ctx context.Context, target string) (net.Conn, error) {
	if target != SourceServer {
		return new(net.Dialer).DialContext(ctx, "tcp", target)
	}
	near, far := net.Pipe()
	if !f.tasks.Go(func() { f.serveSource(far) }) {
		return nil, context.Canceled
	}
	return near, nil
}

// serveSource shows the server's key, and refuses every login.
func (f *Fleet) serveSource(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(f.ctx, func() { _ = conn.Close() })()
	config := &ssh.ServerConfig{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errNotAuthorised }}
	config.AddHostKey(f.sourceKey)
	_, _, _, _ = ssh.NewServerConn(conn, config) // the client leaves when it has seen the key
}

// createSource writes what an agent with an SFTP source needs: the password, and the
// server's key.
func (m *Machine) createSource() error {
	line := "sftp.example.net " + string(ssh.MarshalAuthorizedKey(m.fleet.sourceKey.PublicKey()))
	return errors.Join(os.MkdirAll(m.inRoot(secretsFolder), 0o700), os.MkdirAll(m.inRoot("/etc/ssh"), 0o755),
		os.WriteFile(m.inRoot(secretsFolder+"/"+SourcePassword), []byte("collect-"+m.Name), 0o600),
		os.WriteFile(m.inRoot(knownHosts), []byte(line), 0o644))
}
