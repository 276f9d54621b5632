package remote

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxOffered is how many credentials are offered in one login: sshd counts each
// and closes the connection at the sixth that it refuses (MaxAuthTries in
// sshd_config(5), 6 by default).
const maxOffered = 6

// offer is the list of keys for one login, in order, and what became of them.
type offer struct {
	keys     []*offered
	left     []string         // keys that are not offered for want of room
	problems []*problem.Error // files that gave no key
}

// offered is a key of an offer.
type offered struct {
	candidate
	asked  bool  // the server has been asked about it
	failed error // why it could not sign
}

func newOffer(keys []candidate, problems []*problem.Error, most int) *offer {
	o := &offer{problems: problems}
	for i, key := range keys {
		if i < most {
			o.keys = append(o.keys, &offered{candidate: key})
		} else {
			o.left = append(o.left, key.name)
		}
	}
	return o
}

// rest are the signers that the server has not been asked about.
func (o *offer) rest() []ssh.Signer {
	var list []ssh.Signer
	for _, key := range o.keys {
		if !key.asked {
			list = append(list, key.watched())
		}
	}
	return list
}

// tried are the keys that the server did not want, for a message.
func (o *offer) tried() []string {
	var list []string
	for _, key := range o.keys {
		if !key.asked || key.failed != nil {
			continue
		}
		name := key.name
		if wrong := expiry(key.public); wrong != "" {
			name += " (" + wrong + ")"
		}
		list = append(list, name)
	}
	return list
}

// notTried are the keys that the server was not asked about, for want of room or
// because it gave up before.
func (o *offer) notTried() []string {
	var list []string
	for _, key := range o.keys {
		if !key.asked {
			list = append(list, key.name)
		}
	}
	return append(list, o.left...)
}

// failure is what kept a key from signing that the server would have accepted,
// or nil.
func (o *offer) failure() *problem.Error {
	for _, key := range o.keys {
		if e, ok := key.failed.(*problem.Error); ok { // a passphrase
			return e
		}
		if key.failed != nil {
			return keyProblem(fmt.Sprintf("%s could not sign: %s", key.name, display.Sanitise(strings.TrimPrefix(key.failed.Error(), "agent: "), 200)), "see: ssh-add -l")
		}
	}
	return nil
}

// failures says what went wrong on this side: files that gave no key, and keys
// that could not sign.
func (o *offer) failures() []string {
	var list []string
	if e := o.failure(); e != nil {
		list = append(list, e.Message)
	}
	for _, problem := range o.problems {
		list = append(list, problem.Message)
	}
	return list
}

// watched is the key's signer, with a note of what becomes of it.
func (key *offered) watched() ssh.Signer {
	signer, ok := key.signer.(ssh.AlgorithmSigner)
	if !ok { // every signer of the library is one
		return key.signer
	}
	w := &watchedSigner{signer, key}
	if multi, ok := signer.(ssh.MultiAlgorithmSigner); ok {
		return &watchedMultiSigner{w, multi}
	}
	return w
}

// watchedSigner notes that its key is asked about: the library reads the public
// key of each signer just before it offers it.
type watchedSigner struct {
	ssh.AlgorithmSigner
	key *offered
}

func (s *watchedSigner) PublicKey() ssh.PublicKey {
	s.key.asked = true
	return s.AlgorithmSigner.PublicKey()
}

func (s *watchedSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signature, err := s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	s.key.failed = err
	return signature, err
}

// watchedMultiSigner is one that knows which algorithms it can sign with.
type watchedMultiSigner struct {
	*watchedSigner
	multi ssh.MultiAlgorithmSigner
}

func (s *watchedMultiSigner) Algorithms() []string { return s.multi.Algorithms() }
