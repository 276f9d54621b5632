package remote

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxOffered is the maximum number of credentials in one login: sshd counts each
// and closes the connection at the sixth refusal (MaxAuthTries in sshd_config(5),
// 6 by default).
const maxOffered = 6

// offer is the ordered list of keys for one login, with the result of each.
type offer struct {
	keys     []*offered
	omitted  []string         // names of keys beyond the limit
	problems []*problem.Error // files without a usable key
}

// offered is a key of an offer.
type offered struct {
	candidate
	asked  bool  // the server has been asked about it
	failed error // why it could not sign
}

func newOffer(keys []candidate, problems []*problem.Error, limit int) *offer {
	o := &offer{problems: problems}
	for i, key := range keys {
		if i < limit {
			o.keys = append(o.keys, &offered{candidate: key})
		} else {
			o.omitted = append(o.omitted, key.name)
		}
	}
	return o
}

// remaining returns the signers that the server has not been asked about.
func (o *offer) remaining() []ssh.Signer {
	var list []ssh.Signer
	for _, key := range o.keys {
		if !key.asked {
			list = append(list, key.watched())
		}
	}
	return list
}

// tried returns the names of the keys that the server refused.
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

// notTried returns the names of the keys that the server was not asked about:
// those beyond the limit, or after the server ended the login.
func (o *offer) notTried() []string {
	var list []string
	for _, key := range o.keys {
		if !key.asked {
			list = append(list, key.name)
		}
	}
	return append(list, o.omitted...)
}

// failure returns why a key that the server would have accepted could not sign, or
// nil.
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

// failures returns what failed on this side: files without a usable key, and keys
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

// watched returns a signer that records what happens to the key.
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

// watchedSigner records that the server is asked about its key: the library reads
// the public key of each signer just before it offers it.
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

// watchedMultiSigner is a watchedSigner with a list of its algorithms.
type watchedMultiSigner struct {
	*watchedSigner
	multi ssh.MultiAlgorithmSigner
}

func (s *watchedMultiSigner) Algorithms() []string { return s.multi.Algorithms() }
