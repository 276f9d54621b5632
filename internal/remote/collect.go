package remote

import (
	"bytes"
	"context"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// keyring collects the keys for a login from files and ssh-agent.
type keyring struct {
	socket string // Options.AgentSocket
	files  keyFiles
	agents agents
}

func (k *keyring) close() { k.agents.close() }

// candidate is one key that may be offered.
type candidate struct {
	signer ssh.Signer
	public ssh.PublicKey // of the signer, parsed
	name   string        // for messages: path, type and fingerprint
	rank   int           // lower ranks are offered first
}

// The ranks of candidates: the server most likely wants a certificate,
// then a configured key, as in ssh (sshconnect2.c, pubkey_prepare).
const (
	rankCertificate = iota
	rankConfiguredInAgent
	rankConfigured
	rankAgentCertificate
	rankAgent
)

// offer returns at most limit keys to offer to t. ctx bounds the wait for
// ssh-agent, and pauseLimit pauses the connect timeout while a passphrase is
// requested and tried. With Target.IdentitiesOnly only configured keys of
// ssh-agent are used.
func (k *keyring) offer(ctx context.Context, pauseLimit func() func(), t Target, limit int) (*offer, error) {
	c := &collection{keyring: k, ctx: ctx, pauseLimit: pauseLimit, target: t, socket: k.socketOf(t)}
	for _, path := range t.IdentityFiles {
		c.addFile(k.files.key(path))
	}
	for _, path := range t.CertificateFiles {
		c.addCertificateFile(path)
	}
	if !t.IdentitiesOnly {
		for _, key := range c.fromAgent() {
			c.add(key)
		}
	}
	slices.SortStableFunc(c.candidates, func(a, b candidate) int { return a.rank - b.rank })
	if len(c.candidates) == 0 && t.Password == nil {
		return nil, c.noKey()
	}
	return newOffer(c.candidates, c.problems, limit), nil
}

func (k *keyring) socketOf(t Target) string {
	switch t.AgentSocket {
	case "":
		return k.socket
	case noAgent:
		return ""
	}
	return t.AgentSocket
}

// collection gathers the keys of one offer.
type collection struct {
	*keyring
	ctx        context.Context
	pauseLimit func() (resume func())
	target     Target
	socket     string
	candidates []candidate
	problems   []*problem.Error // files without a usable key
	missing    []*problem.Error // files that do not exist

	asked    bool // ssh-agent has been asked
	inAgent  []candidate
	agentErr error
}

// fromAgent returns the keys in ssh-agent, which it asks on the first call.
func (c *collection) fromAgent() []candidate {
	if c.asked || c.socket == "" {
		return c.inAgent
	}
	c.asked = true
	signers, err := c.agents.signers(c.ctx, c.socket)
	c.agentErr = err
	for _, signer := range signers {
		public, err := ssh.ParsePublicKey(signer.PublicKey().Marshal())
		if err != nil { // an unsupported type
			continue
		}
		rank := rankAgent
		if _, certified := public.(*ssh.Certificate); certified {
			rank = rankAgentCertificate
		}
		c.inAgent = append(c.inAgent, candidate{signer, public, describe(public), rank})
	}
	return c.inAgent
}

// addFile adds the keys of an identity file: certificates for its key, and the
// key itself from the file or from ssh-agent.
func (c *collection) addFile(f *keyFile) {
	signer, rank, problem := f.signer, rankConfigured, f.problem
	for _, key := range c.agentKeysOf(f) {
		if _, certified := key.public.(*ssh.Certificate); certified {
			key.rank = rankCertificate
			c.add(key)
			continue
		}
		rank = rankConfiguredInAgent
		if signer == nil {
			signer = key.signer
		}
	}
	if signer == nil && f.locked != nil && c.target.Passphrase != nil {
		signer, problem = c.locked(f)
	}
	switch {
	case signer != nil:
		if f.certificate != nil {
			c.addCertificate(f.certificate, f.path+"-cert.pub", signer)
		}
		public := signer.PublicKey()
		c.add(candidate{signer, public, f.path + " " + describe(public), rank})
	case f.missing:
		c.missing = append(c.missing, problem)
	default:
		c.problems = append(c.problems, problem)
	}
}

// agentKeysOf returns the keys in ssh-agent for an identity file. It does not ask
// ssh-agent if the file alone is enough.
func (c *collection) agentKeysOf(f *keyFile) []candidate {
	if f.public == nil || f.signer != nil && c.target.IdentitiesOnly {
		return nil
	}
	var own []candidate
	for _, key := range c.fromAgent() {
		if sameKey(withoutCertificate(key.public), f.public) {
			own = append(own, key)
		}
	}
	return own
}

// locked returns a signer for a file that a passphrase protects. If the file does
// not contain the public key, it needs the passphrase at once.
func (c *collection) locked(f *keyFile) (ssh.Signer, *problem.Error) {
	unlock := func() (ssh.Signer, error) {
		defer c.pauseLimit()()
		return f.unlock(c.ctx, c.target.Passphrase)
	}
	if f.public != nil {
		return &lockedSigner{f.public, unlock}, nil
	}
	signer, err := unlock()
	switch e, ours := err.(*problem.Error); {
	case ours:
		return nil, e
	case err != nil: // ctx has ended
		return nil, f.problem
	}
	return signer, nil
}

func (c *collection) addCertificateFile(path string) {
	certificate := c.files.certificate(path)
	if certificate == nil {
		c.problems = append(c.problems, keyProblem(path+" is not a usable certificate", "see: ssh-keygen -L -f FILE"))
		return
	}
	for _, have := range slices.Concat(c.candidates, c.fromAgent()) {
		if sameKey(have.public, certificate.Key) {
			c.addCertificate(certificate, path, have.signer)
			return
		}
	}
	c.problems = append(c.problems, keyProblem("no private key for the certificate "+path, "name its key in identity_file, or: ssh-add FILE"))
}

func (c *collection) addCertificate(certificate *ssh.Certificate, path string, signer ssh.Signer) {
	certified, err := ssh.NewCertSigner(certificate, signer)
	if err != nil {
		c.problems = append(c.problems, keyProblem("the certificate "+path+" is for another key", "see: ssh-keygen -L -f FILE"))
		return
	}
	c.add(candidate{certified, certificate, path + " " + describe(certificate), rankCertificate})
}

// add adds a key unless it was added before.
func (c *collection) add(key candidate) {
	if !slices.ContainsFunc(c.candidates, func(have candidate) bool { return sameKey(have.public, key.public) }) {
		c.candidates = append(c.candidates, key)
	}
}

// noKey returns the error that explains why there is no key to offer.
func (c *collection) noKey() *problem.Error {
	const hint = "set identity_file or password_from in the inventory, or: ssh-add FILE"
	none := func(message string) *problem.Error { return keyProblem("no key to offer: "+message, hint) }
	switch {
	case len(c.problems) > 0:
		return c.problems[0]
	case len(c.missing) > 0 && c.target.IdentitiesOnly:
		return c.missing[0]
	case c.agentErr != nil:
		return keyProblem("cannot use ssh-agent: "+display.Sanitise(c.agentErr.Error(), 200), hint)
	case c.asked:
		return none("ssh-agent has none")
	case len(c.missing) > 0:
		return none("no identity file exists and there is no ssh-agent")
	}
	return none("no identity file is set and there is no ssh-agent")
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// withoutCertificate returns the key that a certificate certifies, and any other
// key unchanged.
func withoutCertificate(key ssh.PublicKey) ssh.PublicKey {
	if certificate, ok := key.(*ssh.Certificate); ok {
		return certificate.Key
	}
	return key
}

// expiry returns why a certificate is not valid at this time, "" if it is: the
// server refuses it without a reason.
func expiry(key ssh.PublicKey) string {
	c, ok := key.(*ssh.Certificate)
	now := uint64(time.Now().Unix())
	day := func(seconds uint64) string {
		return time.Unix(int64(seconds), 0).UTC().Format("2006-01-02 15:04 MST")
	}
	switch {
	case !ok:
	case c.ValidBefore != ssh.CertTimeInfinity && now >= c.ValidBefore:
		return "expired on " + day(c.ValidBefore)
	case now < c.ValidAfter:
		return "not valid before " + day(c.ValidAfter)
	}
	return ""
}
