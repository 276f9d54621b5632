package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 1 << 20

// keyring holds the key files of a fleet, each parsed once, and the
// connection to ssh-agent.
type keyring struct {
	socket string

	mu     sync.Mutex
	files  map[string]*keyFile
	conn   net.Conn // to ssh-agent; nil until needed
	agent  agent.ExtendedAgent
	closed bool
}

// keyFile is what one identity file gave. It never changes.
type keyFile struct {
	path        string
	signer      ssh.Signer       // nil when ssh-agent must sign
	public      ssh.PublicKey    // nil when it could not be told
	certificate *ssh.Certificate // from PATH-cert.pub; nil when there is none
	problem     *Error           // why signer is nil
}

// offer is the list of keys for one login, in order.
type offer struct {
	signers  []ssh.Signer
	names    []string // what people call them: path and fingerprint
	problems []*Error // files that gave no key
}

func (o *offer) add(signer ssh.Signer, path string) {
	o.signers = append(o.signers, signer)
	o.names = append(o.names, strings.TrimSpace(path+" "+describe(signer.PublicKey())))
}

// offer collects the keys to offer: those that are configured, then what else
// ssh-agent holds, unless Target.IdentitiesOnly says that every key costs one of
// MaxAuthTries.
func (k *keyring) offer(ctx context.Context, t Target) (*offer, error) {
	if len(t.IdentityFiles) == 0 {
		return k.offerAgent(ctx)
	}
	o := new(offer)
	for _, path := range t.IdentityFiles {
		file := k.file(path)
		signer := file.signer
		if signer == nil && file.public != nil {
			signer = k.agentSigner(ctx, file.public)
		}
		if signer == nil {
			o.problems = append(o.problems, file.problem)
			continue
		}
		if file.certificate != nil {
			if certified, err := ssh.NewCertSigner(file.certificate, signer); err == nil {
				o.add(certified, path+"-cert.pub")
			}
		}
		o.addCertificates(t.CertificateFiles, signer)
		o.add(signer, path)
	}
	if !t.IdentitiesOnly && k.socket != "" {
		if rest, err := k.agentSigners(ctx); err == nil {
			o.addRest(rest)
		}
	}
	if len(o.signers) == 0 {
		return nil, o.problems[0]
	}
	return o, nil
}

// addCertificates adds the certificates among these files that are for the key
// of signer.
func (o *offer) addCertificates(paths []string, signer ssh.Signer) {
	for _, path := range paths {
		certificate, ok := readPublic(path).(*ssh.Certificate)
		if !ok {
			continue
		}
		if certified, err := ssh.NewCertSigner(certificate, signer); err == nil {
			o.add(certified, path)
		}
	}
}

// addRest adds what is not offered yet.
func (o *offer) addRest(signers []ssh.Signer) {
	for _, signer := range signers {
		key := signer.PublicKey().Marshal()
		if !slices.ContainsFunc(o.signers, func(have ssh.Signer) bool { return bytes.Equal(have.PublicKey().Marshal(), key) }) {
			o.add(signer, "")
		}
	}
}

func (k *keyring) offerAgent(ctx context.Context) (*offer, error) {
	const hint = "set identity_file in the inventory, or: ssh-add FILE"
	if k.socket == "" {
		return nil, &Error{Class: ClassAuthentication, Message: "no key to offer: no identity file is set and there is no ssh-agent", Hint: hint}
	}
	signers, err := k.agentSigners(ctx)
	switch {
	case err != nil:
		return nil, &Error{Class: ClassAuthentication, Message: "ssh-agent can't be used: " + Sanitise(err.Error(), 200), Hint: hint}
	case len(signers) == 0:
		return nil, &Error{Class: ClassAuthentication, Message: "no key to offer: ssh-agent holds none", Hint: hint}
	}
	o := new(offer)
	for _, signer := range signers {
		o.add(signer, "")
	}
	return o, nil
}

// refused is the error for a login that the server refused with err.
func (o *offer) refused(t Target, allowed []string, err error) *Error {
	message := fmt.Sprintf("the server refused user %s with %s", t.User, strings.Join(o.names, ", "))
	if len(allowed) > 0 && !slices.Contains(allowed, "publickey") {
		message = fmt.Sprintf("the server accepts no keys from user %s, only: %s", t.User, Sanitise(strings.Join(allowed, ", "), 200))
	} else if !strings.Contains(err.Error(), "unable to authenticate") {
		message += " (" + Sanitise(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), 200) + ")"
	}
	for _, problem := range o.problems {
		message += "; " + problem.Message
	}
	try := sshCommand(t, "-v")
	return &Error{Class: ClassAuthentication, Message: message, Hint: "check authorized_keys of the user on the host, or try: " + try}
}

// file returns the parsed identity file; the first call reads it.
func (k *keyring) file(path string) *keyFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, ok := k.files[path]; ok {
		return known
	}
	if k.files == nil {
		k.files = make(map[string]*keyFile)
	}
	k.files[path] = readKeyFile(path)
	return k.files[path]
}

func readKeyFile(path string) *keyFile {
	f := &keyFile{path: path}
	f.certificate, _ = readPublic(path + "-cert.pub").(*ssh.Certificate)
	pem, err := readBounded(path)
	if err != nil {
		f.problem = keyProblem("cannot read "+path+": "+fileReason(err), "check identity_file")
		f.public = readPublic(path + ".pub")
		return f
	}
	f.signer, err = ssh.ParsePrivateKey(pem)
	if err == nil {
		return f
	}
	f.signer = nil
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		f.problem = keyProblem(path+" is protected with a passphrase and ssh-agent does not hold it", "ssh-add "+shellescape.Quote(path))
		f.public = locked.PublicKey
	} else { // the parser's own words could quote the file
		f.problem = keyProblem(path+" is not a private key that can be used", "check identity_file, or add the key to ssh-agent and keep its public key in "+path+".pub")
		f.public, _, _, _, _ = ssh.ParseAuthorizedKey(pem) // as OpenSSH, a public key is enough with an agent
	}
	if f.public == nil {
		f.public = readPublic(path + ".pub")
	}
	return f
}

func keyProblem(message, hint string) *Error {
	return &Error{Class: ClassAuthentication, Message: message, Hint: hint}
}

func fileReason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	}
	return "it is no regular file, or too large"
}

// readPublic reads a public key or certificate in OpenSSH's one-line form; nil
// if there is none.
func readPublic(path string) ssh.PublicKey {
	line, err := readBounded(path)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil
	}
	return key
}

// readBounded reads a small regular file; a FIFO would block for ever.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, errors.New("not a small regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// agentSigner is ssh-agent's signer for public, or nil.
func (k *keyring) agentSigner(ctx context.Context, public ssh.PublicKey) ssh.Signer {
	if k.socket == "" {
		return nil
	}
	signers, err := k.agentSigners(ctx)
	if err != nil {
		return nil
	}
	for _, signer := range signers {
		if bytes.Equal(signer.PublicKey().Marshal(), public.Marshal()) {
			return signer
		}
	}
	return nil
}

// agentSigners asks ssh-agent for its keys, over a new connection if the old
// one does not work any more.
func (k *keyring) agentSigners(ctx context.Context) ([]ssh.Signer, error) {
	client, err := k.connectAgent(ctx, nil)
	if err != nil {
		return nil, err
	}
	signers, err := client.Signers()
	if err == nil {
		return signers, nil
	}
	if client, err = k.connectAgent(ctx, client); err != nil {
		return nil, err
	}
	return client.Signers()
}

// connectAgent returns the shared connection, or another if it is broken.
func (k *keyring) connectAgent(ctx context.Context, broken agent.ExtendedAgent) (agent.ExtendedAgent, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.agent != nil && k.agent != broken {
		return k.agent, nil
	}
	if k.closed {
		return nil, net.ErrClosed
	}
	if k.conn != nil {
		_ = k.conn.Close()
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", k.socket)
	if err != nil {
		return nil, err
	}
	k.conn, k.agent = conn, agent.NewClient(conn)
	return k.agent, nil
}

func (k *keyring) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.conn != nil {
		_ = k.conn.Close()
	}
}
