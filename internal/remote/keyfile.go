package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxKeyFile is the maximum size of a key file, in bytes.
const maxKeyFile = 1 << 20

// keyFiles caches the key and certificate files of a fleet, each parsed once.
type keyFiles struct {
	mu           sync.Mutex
	keys         map[string]*keyFile
	certificates map[string]*ssh.Certificate // nil: the file contains none
}

// keyFile is a parsed identity file.
type keyFile struct {
	path        string
	signer      ssh.Signer       // nil if the file alone is not enough
	public      ssh.PublicKey    // nil if unknown
	certificate *ssh.Certificate // from PATH-cert.pub; nil if there is none
	problem     *problem.Error   // why signer is nil
	missing     bool             // the file does not exist
	locked      []byte           // the file's text if a passphrase protects it

	mu       sync.Mutex // for the fields below: the passphrase is tried once
	tried    bool
	unlocked ssh.Signer
	refusal  *problem.Error
}

// key returns the parsed identity file; the first call reads it.
func (k *keyFiles) key(path string) *keyFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, ok := k.keys[path]; ok {
		return known
	}
	if k.keys == nil {
		k.keys = make(map[string]*keyFile)
	}
	k.keys[path] = readKeyFile(path)
	return k.keys[path]
}

// certificate returns the certificate in a file, nil if it contains none. The
// first call reads the file.
func (k *keyFiles) certificate(path string) *ssh.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, ok := k.certificates[path]; ok {
		return known
	}
	if k.certificates == nil {
		k.certificates = make(map[string]*ssh.Certificate)
	}
	k.certificates[path], _ = readPublic(path).(*ssh.Certificate)
	return k.certificates[path]
}

func readKeyFile(path string) *keyFile {
	f := &keyFile{path: path}
	f.certificate, _ = readPublic(path + "-cert.pub").(*ssh.Certificate)
	pem, err := readPrivate(path)
	var exposed *exposedError
	switch {
	case errors.As(err, &exposed):
		f.problem = keyProblem(fmt.Sprintf("%s can be read or written by others (%s) and is ignored, as by ssh", path, exposed.how), display.MakePrivate(path))
	case err != nil:
		f.problem = keyProblem("cannot read "+path+": "+localfile.Reason(err), "check identity_file")
		f.missing = errors.Is(err, fs.ErrNotExist)
	default:
		f.parse(pem)
	}
	if f.signer == nil && f.public == nil {
		f.public = readPublic(path + ".pub")
	}
	return f
}

func (f *keyFile) parse(pem []byte) {
	signer, err := ssh.ParsePrivateKey(pem)
	if err == nil {
		f.signer, f.public = signer, signer.PublicKey()
		return
	}
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		f.problem = keyProblem(f.path+" is protected with a passphrase and not in ssh-agent", "ssh-add "+display.Arg(f.path)+", or set passphrase_from")
		f.public, f.locked = locked.PublicKey, pem
		return
	}
	// The parser's message could quote the file.
	f.problem = keyProblem(f.path+" is not a usable private key", "check identity_file, or add the key to ssh-agent and keep its public key in "+f.path+".pub")
	f.public, _, _, _, _ = ssh.ParseAuthorizedKey(pem) // as OpenSSH, a public key is enough with an agent
}

// unlock returns the signer of a file that a passphrase protects. The result of
// the first passphrase holds for the run.
func (f *keyFile) unlock(ctx context.Context, passphrase func(context.Context, string) (string, error)) (ssh.Signer, error) {
	text, err := passphrase(ctx, f.path)
	if err != nil {
		return nil, secretError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.tried {
		f.tried = true
		if f.unlocked, err = ssh.ParsePrivateKeyWithPassphrase(f.locked, []byte(text)); err != nil {
			f.refusal = keyProblem("the passphrase of "+f.path+" is wrong", "try it with: ssh-keygen -y -f "+display.Arg(f.path))
		}
	}
	if f.refusal != nil {
		return nil, f.refusal
	}
	return f.unlocked, nil
}

// secretError returns the error for one of Target.Passphrase or Password.Get.
func secretError(err error) error {
	var e *problem.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return keyProblem(display.Sanitise(err.Error(), 400), "")
}

// lockedSigner offers a key and requests its passphrase only when the server has
// accepted the key, as ssh does (RFC 4252 section 7: the query has no signature).
type lockedSigner struct {
	public ssh.PublicKey
	unlock func() (ssh.Signer, error)
}

func (s *lockedSigner) PublicKey() ssh.PublicKey { return s.public }

func (s *lockedSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(rand, data, "")
}

func (s *lockedSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := s.unlock()
	if err != nil {
		return nil, err
	}
	if with, ok := signer.(ssh.AlgorithmSigner); ok {
		return with.SignWithAlgorithm(rand, data, algorithm)
	}
	return signer.Sign(rand, data)
}

func keyProblem(message, hint string) *problem.Error {
	return &problem.Error{Class: problem.Authentication, Message: message, Hint: hint}
}

// readPublic reads a public key or certificate in OpenSSH's one-line form; it
// returns nil if there is none.
func readPublic(path string) ssh.PublicKey {
	line, err := localfile.ReadRegular(path, maxKeyFile)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil
	}
	return key
}

// exposedError is the error of a private key that others can read or write.
type exposedError struct{ how string }

func (e *exposedError) Error() string { return e.how }

// readPrivate is localfile.ReadRegular for private keys: like ssh, it refuses a
// file of the user that others can read or write. A public key in place of the
// private one may be readable.
func readPrivate(path string) ([]byte, error) {
	pem, err := localfile.ReadRegular(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	if _, _, _, _, notPublic := ssh.ParseAuthorizedKey(pem); notPublic == nil {
		return pem, nil
	}
	if how := localfile.Exposed(path); how != "" {
		return nil, &exposedError{how}
	}
	return pem, nil
}
